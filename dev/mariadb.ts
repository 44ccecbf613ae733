import { access, chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";

import { findExecutable } from "./executables.ts";
import { host } from "./ports.ts";
import { mysqlAnswers } from "./probes.ts";
import { startProgram, type ProgramSpec } from "./program.ts";
import { Refusal } from "./refusal.ts";

export interface MariadbOptions {
  dir: string;
  port: number;
  /** Of the one user, `flick`, who may do everything. */
  password: string;
  /** Is a commit on the disk before it is acknowledged? Only tests may say no. Default true. */
  durable?: boolean;
}

const user = "flick";
const database = "flick";

/** The server's address with the name and password of its user. */
export function mariadbUrl({ port, password }: MariadbOptions): string {
  return `mysql://${user}:${password}@${host}:${port}/${database}`;
}

/** Makes the server's files when they are missing. The user, its password and the empty database are set at every start. */
export async function prepareMariadb(options: MariadbOptions): Promise<void> {
  const { dir, password } = options;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  if (!(await exists(join(dir, "complete")))) {
    await rm(dataDir(options), { recursive: true, force: true });
    await installSystemTables(options);
    await writeFile(join(dir, "complete"), "");
  }
  const account = `'${user}'@'${host}'`;
  const statements = [
    // These belong to this server alone: they must not appear in its change log.
    "SET SESSION sql_log_bin = 0",
    `CREATE USER IF NOT EXISTS ${account}`,
    `ALTER USER ${account} IDENTIFIED BY '${password}'`,
    `GRANT ALL PRIVILEGES ON *.* TO ${account}`,
    `CREATE DATABASE IF NOT EXISTS ${database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
  ];
  await writeFile(initFile(options), statements.map((statement) => `${statement};\n`).join(""), { mode: 0o600 });
}

/** How to run the server; {@link prepareMariadb} comes first. Its binary log holds full rows, as change data capture needs it. */
export function mariadbSpec(options: MariadbOptions): ProgramSpec {
  const { port, durable = true } = options;
  return {
    name: "mariadb",
    command: [
      findExecutable("mariadbd"),
      ...commonArguments(options),
      `--port=${port}`,
      `--bind-address=${host}`,
      // Relative to the data folder, since the path of a socket may have 107 characters only.
      "--socket=mysql.sock",
      `--init-file=${initFile(options)}`,
      "--skip-name-resolve",
      "--server-id=1",
      "--log-bin=binlog",
      "--binlog-format=ROW",
      "--binlog-row-image=FULL",
      // So that the tailer can tell the columns of a row written before its table was altered.
      "--binlog-row-metadata=FULL",
      "--binlog-expire-logs-seconds=604800",
      "--max-binlog-size=64M",
      `--sync-binlog=${durable ? 1 : 0}`,
      `--innodb-flush-log-at-trx-commit=${durable ? 1 : 2}`,
      "--innodb-buffer-pool-size=128M",
      "--performance-schema=OFF",
      "--max-connections=300",
      "--character-set-server=utf8mb4",
      "--collation-server=utf8mb4_bin",
      "--default-time-zone=+00:00",
      // MySQL 8.4's default, so that no statement works here and fails there.
      "--sql-mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    ],
    probe: () => mysqlAnswers(mariadbUrl(options)),
    readyWithinMs: 60_000,
    stopWithinMs: 10_000,
    hides: (line) => !line.includes("[ERROR]"),
  };
}

const dataDir = ({ dir }: MariadbOptions) => join(dir, "data");
const initFile = ({ dir }: MariadbOptions) => join(dir, "init.sql");

function commonArguments(options: MariadbOptions): string[] {
  const asRoot = process.getuid?.() === 0 ? ["--user=root"] : [];
  // In the system's /tmp two servers that start at once lose each other's temporary tables.
  return ["--no-defaults", ...asRoot, `--datadir=${dataDir(options)}`, `--tmpdir=${options.dir}`];
}

async function installSystemTables(options: MariadbOptions): Promise<void> {
  const install = startProgram(
    {
      name: "mariadb",
      command: [
        findExecutable("mariadb-install-db"),
        ...commonArguments(options),
        "--skip-name-resolve",
        "--skip-test-db",
        // Waiting for the disk is most of the time that this takes. A power failure in the next seconds costs a `dev:reset`.
        "--debug-no-sync",
        "--auth-root-authentication-method=socket",
        `--auth-root-socket-user=${userInfo().username}`,
      ],
      hides: () => true,
    },
    () => {},
  );
  const timer = setTimeout(install.kill, 120_000);
  const { how, hidden } = await install.exited;
  clearTimeout(timer);
  if (how !== "exit code 0") throw new Refusal([`mariadb-install-db ended with ${how}:`, ...hidden].join("\n"));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
