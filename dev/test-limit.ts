/** Loaded before every test file (bunfig.toml): what talks to real servers may take longer than Bun's 5 s. */
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(120_000);
