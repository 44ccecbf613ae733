import { setTimeout as sleep } from "node:timers/promises";

import type * as v from "valibot";

import type { Log } from "../log.ts";
import { createRedisConnection } from "../redis-connection.ts";
import { configKey } from "./document.ts";
import { createLiveConfig, refreshMs } from "./live-config.ts";
import type { SettingsSchema } from "./settings.ts";

export interface FollowedConfig<Config> {
  /** Ask each time: it changes while the program runs. */
  current(): Config;
  /** Calls it after every reading. */
  watch(listener: () => void): void;
  close(): void;
}

/** A program does not wait for longer than this to start, nor to hear that Redis is away. */
const timeoutMs = 1_000;

/**
 * Keeps a program's configuration as it is in Redis, within 10 s. Resolves when it has been read for the first time, or could not be:
 * without Redis the program begins with the defaults.
 */
export async function followConfig<S extends SettingsSchema>(options: {
  program: string;
  schema: S;
  url: string;
  log: Log;
}): Promise<FollowedConfig<v.InferOutput<S>>> {
  const { program, schema, url, log } = options;
  const live = createLiveConfig({ schema, log });
  const connection = createRedisConnection({ url, log, timeoutMs });
  const closing = new AbortController();
  const listeners: (() => void)[] = [];
  let readable = true;

  async function look(): Promise<void> {
    try {
      live.take((await connection.send("GET", [configKey(program)])) as string | null);
      readable = true;
      for (const listener of listeners) listener();
    } catch (error) {
      if (readable && !closing.signal.aborted)
        log.warn("the configuration cannot be read: the last one stays", { error });
      readable = false;
    }
  }

  async function lookAgainAndAgain(): Promise<void> {
    while (!closing.signal.aborted) {
      // Somewhat random, so that processes which started together do not go on asking together.
      const pauseMs = refreshMs * (0.8 + 0.4 * Math.random());
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
      if (!closing.signal.aborted) await look();
    }
  }

  await look();
  void lookAgainAndAgain();
  return {
    current: live.current,
    watch: (listener) => void listeners.push(listener),
    close() {
      closing.abort();
      connection.close();
    },
  };
}
