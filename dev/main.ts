import { relative } from "node:path";

import { readDevEnv, type DevEnv } from "./env.ts";
import { standardOutput, type Output } from "./output.ts";
import { onNpxGone } from "./processes.ts";
import { provision, type Need } from "./provision.ts";
import { explain, Refusal } from "./refusal.ts";
import { beginStack, type Stack } from "./stack.ts";

const help = `Runs everything on 127.0.0.1 until Ctrl-C, and installs what is missing where it can.

  bun dev            with the event log in Redis
  bun dev --kafka    on an Apache Kafka of its own

Ports, the folder of its state and servers to use in place of its own are set in the environment: see the table in README.md.
`;

/** Runs the local stack until Ctrl-C (then it ends with 0) or until it cannot go on (1). */
async function main(output: Output): Promise<number> {
  const env = readDevEnv();
  await provision(needsOf(env), output);

  const { promise: end, resolve: endBecause } = Promise.withResolvers<string | null>();
  const { kafka, ...options } = env;
  const stack = await beginStack({
    ...options,
    ...(withKafka() ? { kafka } : {}),
    output,
    onGiveUp: (reason) => endBecause(reason.message),
  });
  onInterrupt({
    first: () => endBecause(null),
    second: () => {
      stack.kill();
      process.exit(130);
    },
  });
  stack.ready.then(
    () => output.say(readyText(env, stack)),
    (error: unknown) => endBecause(explain(error)),
  );
  const failure = await end;

  output.say(failure === null ? "stopping (Ctrl-C again kills everything at once)" : `${failure}\nstopping`);
  await stack.stop();
  output.say("everything has stopped");
  return failure === null ? 0 : 1;
}

/** `--kafka`: the event log is on a Kafka of our own, and not in Redis. */
function withKafka(): boolean {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg !== "--kafka");
  if (unknown !== undefined)
    throw new Refusal(`bun dev knows no ${unknown}, only --kafka (the event log on Apache Kafka).`);
  return args.includes("--kafka");
}

function needsOf({ external }: DevEnv): Need[] {
  return [
    ...(external.mysqlUrl ? [] : ["mariadb" as const]),
    ...(external.redisUrl ? [] : ["redis" as const]),
    "ffmpeg",
    "bubblewrap",
  ];
}

function onInterrupt({ first, second }: { first: () => void; second: () => void }): void {
  let times = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => (++times === 1 ? first() : second()));
  }
  onNpxGone(first);
}

function readyText({ dataDir }: DevEnv, { urls, secretsFile }: Stack): string {
  const place = (path: string) => relative(process.cwd(), path) || ".";
  const rows = [
    ["feed", `${urls.gateway}/douyin/feed/`],
    ["API", `${urls.gateway}/docs`],
    ["media", `${urls.oss} (OSS-compatible store)`],
    ["Upstash", `${urls.upstash} (Redis over HTTP)`],
    ["MySQL", withoutPassword(urls.mysql)],
    ["Redis", withoutPassword(urls.redis)],
    ...(urls.kafkaBrokers ? [["Kafka", `${urls.kafkaBrokers} (npx bun run events)`]] : []),
    ["secrets", `${place(secretsFile)} holds the passwords and keys`],
    ["state", `${place(dataDir)} (npx bun run dev:reset forgets it)`],
  ];
  const seconds = (performance.now() / 1000).toFixed(1);
  return [
    "",
    `Flick is ready, ${seconds} s after its start.`,
    "",
    ...rows.map(([name = "", value]) => `  ${name.padEnd(8)} ${value}`),
    "",
    "Next, in another terminal: npx bun run demo  (publishes a dozen clips)",
    "Ctrl-C stops everything.",
    "",
  ].join("\n");
}

function withoutPassword(address: string): string {
  const url = new URL(address);
  url.password = "";
  return url.href;
}

// A terminal that has gone away must not keep us from stopping the programs.
process.stdout.on("error", () => {});
const output = standardOutput();
try {
  const isHelp = ["--help", "-h"].includes(process.argv[2] ?? "");
  if (isHelp) process.stdout.write(help);
  process.exit(isHelp ? 0 : await main(output));
} catch (error) {
  output.say(explain(error));
  process.exit(1);
}
