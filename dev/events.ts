import { existsSync } from "node:fs";
import { join } from "node:path";

import { runCommandLine } from "@flick/platform/command.ts";
import { runEvents, usage } from "@flick/platform/event-log/cli.ts";

import { readDevEnv } from "./env.ts";
import { host } from "./ports.ts";
import { kafkaAnswers } from "./probes.ts";
import { redisUrl } from "./redis.ts";
import { Refusal } from "./refusal.ts";
import { loadSecrets } from "./secrets.ts";

/** The local stack's event log, unless the environment names another one. */
async function withLocalStack(env: Record<string, string | undefined>): Promise<Record<string, string | undefined>> {
  if (env["KAFKA_BROKERS"] || env["REDIS_URL"] || env["REDIS_URL_FILE"]) return env;
  const { dataDir, ports, kafka } = readDevEnv();
  if (await kafkaAnswers(host, kafka.port).catch(() => false)) {
    return { ...env, KAFKA_BROKERS: `${host}:${kafka.port}` };
  }
  const secrets = join(dataDir, "secrets.json");
  if (!existsSync(secrets)) {
    throw new Refusal(
      `There is no local stack in ${dataDir}. Start one (npx bun dev), or say where the event log is: KAFKA_BROKERS=... or REDIS_URL=...`,
    );
  }
  const { redisPassword } = await loadSecrets(secrets);
  return { ...env, REDIS_URL: redisUrl({ dir: dataDir, port: ports.redis, password: redisPassword }) };
}

await runCommandLine({
  help: usage,
  async run(args) {
    process.stdout.write(`${await runEvents(args, await withLocalStack(process.env))}\n`);
  },
});
