import { removeDataDir } from "./data-dir.ts";
import { readDevEnv } from "./env.ts";
import { standardOutput } from "./output.ts";
import { explain } from "./refusal.ts";

const output = standardOutput();
try {
  const { dataDir } = readDevEnv();
  const removed = await removeDataDir(dataDir);
  output.say(removed ? `removed ${dataDir}` : `there is nothing to remove at ${dataDir}`);
} catch (error) {
  output.say(explain(error));
  process.exit(1);
}
