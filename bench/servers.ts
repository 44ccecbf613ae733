import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createGuard } from "@flick/dev/guard.ts";
import { mariadbSpec, mariadbUrl, prepareMariadb } from "@flick/dev/mariadb.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { startProgram, type ProgramSpec } from "@flick/dev/program.ts";
import { prepareRedis, redisSpec, redisUrl } from "@flick/dev/redis.ts";

const password = "only-for-measuring";

/**
 * A MariaDB that has each commit on the disk before it acknowledges it (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`) and a
 * Redis, both empty. They are gone when this process ends.
 */
export async function startDurableServers(): Promise<{
  mysqlUrl: string;
  redisUrl: string;
  /** Of their files. */
  dir: string;
  stop(): Promise<void>;
}> {
  const { dir, watch } = createGuard(await mkdtemp(join(tmpdir(), "flick-bench-")));
  const [mysqlPort = 0, redisPort = 0] = await freePorts(2);
  const mysql = { dir: join(dir, "mysql"), port: mysqlPort, password, durable: true };
  const redis = { dir: join(dir, "redis"), port: redisPort, password };
  await Promise.all([prepareMariadb(mysql), prepareRedis(redis)]);
  const programs = await Promise.all(
    [mariadbSpec(mysql), redisSpec(redis)].map(async (spec: ProgramSpec) => {
      const program = startProgram(spec, () => {});
      watch(program.pid);
      await program.ready;
      return program;
    }),
  );
  return {
    mysqlUrl: mariadbUrl(mysql),
    redisUrl: redisUrl(redis),
    dir,
    async stop() {
      await Promise.all(programs.map((program) => program.stop()));
    },
  };
}
