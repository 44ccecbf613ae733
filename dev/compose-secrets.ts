import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { refuseArguments, runCommandLine } from "@flick/platform/command.ts";

/**
 * Makes the secret files of docker-compose.yml that are not there yet. Files that hold the same secret are made together, so
 * that they agree.
 *
 * Containers read them as users of their own, who are not this one: the files can be read by all, the folder opened by its
 * owner alone. (Compose mounts them one by one and cannot change owner or mode.)
 *
 * @returns the names of the files that were made.
 * @throws when only some files of a kind are there: new ones would not fit the old ones, nor what the servers have stored.
 */
export async function makeComposeSecrets(dir: string): Promise<string[]> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  const present = await readdir(dir);
  const files = kinds.flatMap((makeKind) => {
    const kind = Object.entries(makeKind());
    const missing = kind.map(([name]) => name).filter((name) => !present.includes(name));
    if (missing.length === 0) return [];
    if (missing.length === kind.length) return kind;
    throw new Error(
      `${dir}: ${missing.join(", ")} missing, while other files of the same kind are there. Put back what is missing, or remove ` +
        `${kind.map(([name]) => name).join(", ")} to have them made anew (new secrets of MySQL need a new volume).`,
    );
  });
  for (const [name, content] of files) await writeFile(join(dir, name), `${content}\n`, { mode: 0o444, flag: "wx" });
  return files.map(([name]) => name);
}

/** Each gives all files of one kind, by name. */
const kinds: (() => Record<string, string>)[] = [
  mysql,
  mysqlForInfra,
  redis,
  () => ({ "oss-access-key-id": random(8), "oss-access-key-secret": random(24) }),
  () => ({ "upstash-token": random(24) }),
  () => ({ "service-token-secret": random(32) }),
  () => ({ "jwt-private-key.json": signingKey() }),
];

/**
 * One account per program, each with what it needs: rows for the origin, the schema for the migrations, the change log (as a
 * replica reads it) and the tables' columns for the tailer. The image runs the statements when it makes a new database.
 */
function mysql(): Record<string, string> {
  const origin = { user: "flick_origin", password: random(24) };
  const migrate = { user: "flick_migrate", password: random(24) };
  const cdc = { user: "flick_cdc", password: random(24) };
  return {
    "mysql-root-password": random(24),
    "mysql-users.sql": [
      // Accounts belong to this server alone: they must not appear in its change log.
      "SET SESSION sql_log_bin = 0;",
      create(origin),
      `GRANT SELECT, INSERT, UPDATE, DELETE ON flick.* TO '${origin.user}'@'%';`,
      create(migrate),
      `GRANT ALL PRIVILEGES ON flick.* TO '${migrate.user}'@'%';`,
      create(cdc),
      `GRANT SELECT ON flick.* TO '${cdc.user}'@'%';`,
      `GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${cdc.user}'@'%';`,
    ].join("\n"),
    "mysql-origin-url": mysqlUrl(origin),
    "mysql-migrate-url": mysqlUrl(migrate),
    "mysql-cdc-url": mysqlUrl(cdc),
  };
}

/** For ops/compose/infra.yml: what `bun dev` does is the work of all three programs, under one account. */
function mysqlForInfra(): Record<string, string> {
  const account = { user: "flick_infra", password: random(24) };
  return {
    "mysql-infra-user.sql": [
      "SET SESSION sql_log_bin = 0;",
      create(account),
      `GRANT ALL PRIVILEGES ON flick.* TO '${account.user}'@'%';`,
      `GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${account.user}'@'%';`,
    ].join("\n"),
    "mysql-infra-url": mysqlUrl(account, "127.0.0.1:13306"),
  };
}

interface Account {
  user: string;
  password: string;
}

function create({ user, password }: Account): string {
  return `CREATE USER '${user}'@'%' IDENTIFIED BY '${password}';`;
}

function mysqlUrl({ user, password }: Account, address = "mysql:3306"): string {
  return `mysql://${user}:${password}@${address}/flick`;
}

function redis(): Record<string, string> {
  const password = random(24);
  return {
    "redis-auth.conf": `requirepass ${password}`,
    "redis-url": `redis://:${password}@redis:6379`,
    "redis-infra-url": `redis://:${password}@127.0.0.1:16379`,
  };
}

/** The Ed25519 key that signs viewers' tokens, as a JSON Web Key. */
function signingKey(): string {
  const jwk = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  return JSON.stringify({ ...jwk, alg: "EdDSA", use: "sig", kid: randomUUID() });
}

function random(bytes: number): string {
  return randomBytes(bytes).toString("hex");
}

if (import.meta.main) {
  const dir = join(import.meta.dir, "../ops/compose/secrets");
  await runCommandLine({
    help: `Makes the secrets that the compose file mounts, those that are not there yet, in ${dir}.`,
    async run(args) {
      refuseArguments(args);
      const made = await makeComposeSecrets(dir);
      process.stdout.write(made.length > 0 ? `made ${made.join(", ")} in ${dir}\n` : `every secret is there: ${dir}\n`);
    },
  });
}
