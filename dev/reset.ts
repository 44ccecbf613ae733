import { refuseArguments, runCommandLine } from "@flick/platform/command.ts";

import { removeDataDir } from "./data-dir.ts";
import { readDevEnv } from "./env.ts";
import { standardOutput } from "./output.ts";
import { explain } from "./refusal.ts";

await runCommandLine({
  help: "Forgets the state of the local stack: removes the folder .data, or the one that FLICK_DATA_DIR names.",
  async run(args) {
    refuseArguments(args);
    const { dataDir } = readDevEnv();
    const removed = await removeDataDir(dataDir);
    standardOutput().say(removed ? `removed ${dataDir}` : `there is nothing to remove at ${dataDir}`);
  },
  explain,
});
