import { afterAll, expect, test } from "bun:test";

import { RedisClient } from "bun";

import { testServers } from "../testing.ts";
import { checkAvailable } from "./available-commands.ts";
import { text } from "./resp2.ts";

const { redisUrl } = await testServers();
const redis = new RedisClient(redisUrl);
afterAll(() => redis.close());

/** Name, arity, flags, three positions of keys, ACL categories, tips, key specifications, subcommands. */
type Described = [string, number, string[], number, number, number, string[], string[], unknown[], Described[]];

/** Every command that this Redis has, with the flags of itself and of its subcommands. */
const commands = ((await redis.send("COMMAND", [])) as Described[]).map((described) => ({
  name: described[0].toUpperCase(),
  flags: [described, ...described[9]].flatMap(([, , flags]) => flags),
}));

const isAvailable = (...command: string[]) => {
  try {
    checkAvailable(command);
    return true;
  } catch {
    return false;
  }
};

test("nothing that administers, blocks, subscribes or changes the connection is let through", () => {
  const connection = ["AUTH", "CLIENT", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT", "ASKING", "WAIT"];
  const transactions = ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"];
  const flagged = commands.filter(
    ({ name, flags }) =>
      name.endsWith("SUBSCRIBE") ||
      flags.includes("admin") ||
      // Those two block with an option only.
      (flags.includes("blocking") && !["XREAD", "XREADGROUP"].includes(name)),
  );
  const refused = [...connection, ...transactions, ...flagged.map(({ name }) => name)];
  for (const name of ["MONITOR", "CONFIG", "DEBUG", "SHUTDOWN", "SAVE", "REPLICAOF", "ACL", "BLPOP", "PSUBSCRIBE"]) {
    expect(refused).toContain(name);
  }
  expect(refused.filter((name) => isAvailable(name, "EXISTS") || isAvailable(name.toLowerCase(), "EXISTS"))).toEqual(
    [],
  );
});

test("all else that reads and writes data is let through", () => {
  const isData = ({ flags }: { flags: string[] }) =>
    (flags.includes("write") || flags.includes("readonly")) && !flags.includes("admin") && !flags.includes("blocking");
  const data = commands.filter(isData).map(({ name }) => name);
  expect(data.length).toBeGreaterThan(150);
  const refused = data.filter((name) => !isAvailable(name, "LOAD"));
  // Of no use without a second server or a second database, or to look inside this one.
  const beyond = new Set(["LOLWUT", "MEMORY", "MIGRATE", "MOVE", "RESTORE-ASKING", "SWAPDB"]);
  expect(refused.filter((name) => !beyond.has(name))).toEqual([]);
});

test("reading a stream is available, waiting for it is not", () => {
  expect(isAvailable("XREAD", "COUNT", "1", "STREAMS", "block", "0")).toBe(true);
  expect(isAvailable("XREADGROUP", "GROUP", "block", "BLOCK", "STREAMS", "s", ">")).toBe(true);
  expect(isAvailable("xread", "block", "0", "streams", "s", "$")).toBe(false);
  expect(isAvailable("XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", "$")).toBe(false);
  expect(isAvailable("XREADGROUP", "BLOCK", "0", "GROUP", "g", "c", "STREAMS", "s", ">")).toBe(false);
});

test("scripts and functions may be loaded and found, not killed or debugged", () => {
  for (const subcommand of ["LOAD", "exists", "FLUSH"]) expect(isAvailable("script", subcommand)).toBe(true);
  for (const subcommand of ["LOAD", "list", "DELETE"]) expect(isAvailable("FUNCTION", subcommand)).toBe(true);
  for (const subcommand of ["KILL", "RESTORE"]) expect(isAvailable("function", subcommand)).toBe(false);
  for (const subcommand of ["KILL", "DEBUG", ""]) expect(isAvailable("SCRIPT", subcommand)).toBe(false);
});

test("a refusal names the command, and not all of a long one", () => {
  expect(() => checkAvailable(["config", "get", "requirepass"])).toThrow(
    "ERR Command is not available: 'CONFIG'. See ",
  );
  expect(() => checkAvailable([text("x".repeat(100_000))])).toThrow(`'${"X".repeat(64)}…'`);
});
