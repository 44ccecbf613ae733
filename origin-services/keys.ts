import { join } from "node:path";

import { runCommandLine, UsageError } from "@flick/platform/command.ts";
import { readEnv, whole } from "@flick/platform/env.ts";
import * as v from "valibot";

import { describeRing, publishedBeforeMs, readRing, removeFromRing, rotateRing } from "./user/key-ring.ts";

const help = `The keys that sign viewers' tokens:

  bun run keys list
  bun run keys rotate          a new key signs in ten seconds, the old one's tokens stay good until they expire
  bun run keys remove <kid>    within a minute, and with it every token that it has signed

They are in the file that JWT_PRIVATE_KEY_FILE names, or in the local stack's. Running origins see the change within seconds.`;

const print = (line: string) => process.stdout.write(`${line}\n`);

async function run([command, kid]: string[]): Promise<void> {
  const env = readEnv({
    FLICK_DATA_DIR: v.optional(v.string(), join(import.meta.dir, "../.data")),
    JWT_PRIVATE_KEY_FILE: v.optional(v.string()),
    TOKEN_TTL_S: v.optional(whole(60, 31_536_000), "604800"),
  });
  const path = env.JWT_PRIVATE_KEY_FILE ?? join(env.FLICK_DATA_DIR, "secrets/jwt.json");
  const tokenLifetimeMs = env.TOKEN_TTL_S * 1000;
  if (command === "rotate") {
    const added = await rotateRing(path, { tokenLifetimeMs });
    print(`${added} signs from ${new Date(Date.now() + publishedBeforeMs).toISOString()} on`);
  } else if (command === "remove" && kid) {
    await removeFromRing(path, kid);
    print(`${kid} is gone`);
  } else if (command !== "list") {
    throw new UsageError(help);
  }
  for (const key of describeRing(await readRing(path), { now: Date.now(), tokenLifetimeMs })) {
    const until = key.honouredUntil === null ? "" : `  honoured until ${new Date(key.honouredUntil).toISOString()}`;
    print(`${key.kid}  ${key.state.padEnd(8)}${until}`);
  }
}

await runCommandLine({ help, run });
