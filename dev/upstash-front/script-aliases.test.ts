import { expect, test } from "bun:test";

import { createScriptAliases } from "./script-aliases.ts";

const sha1 = (text: string) => new Bun.CryptoHasher("sha1").update(text).digest("hex");
const script = (number: number) => `#!lua flags=allow-key-locking\nreturn ${number}`;
const stripped = (number: number) => `\nreturn ${number}`;

test("only the flag that Redis does not know is taken off", () => {
  const translate = createScriptAliases();
  const sent = (text: string) => translate(["EVAL", text, "0"]).command[1];
  expect(sent("#!lua flags=allow-key-locking\nreturn 1")).toBe("\nreturn 1");
  expect(sent("#!lua flags=allow-key-locking\r\nreturn 1")).toBe("\nreturn 1");
  expect(sent("#!lua flags=no-writes,allow-key-locking\nreturn 1")).toBe("#!lua flags=no-writes\nreturn 1");
  for (const other of ["return 1", "#!lua flags=no-writes\nreturn 1", "return 1\n#!lua flags=allow-key-locking\n"]) {
    expect(sent(other)).toBe(other);
  }
});

test("the caller's SHA stands for the script that Redis knows, in every command that takes one", () => {
  const translate = createScriptAliases();
  const callers = sha1(script(1));
  expect(translate(["evalsha", callers, "0"]).command).toEqual(["evalsha", callers, "0"]);
  translate(["eval", script(1), "0", "arg"]);
  const known = sha1(stripped(1));
  expect(translate(["evalsha", callers.toUpperCase(), "0", "arg"]).command).toEqual(["evalsha", known, "0", "arg"]);
  expect(translate(["EVALSHA_RO", callers, "0"]).command).toEqual(["EVALSHA_RO", known, "0"]);
  expect(translate(["script", "exists", callers, "other"]).command).toEqual(["script", "exists", known, "other"]);
  const load = translate(["SCRIPT", "LOAD", Buffer.from(script(2))]);
  expect(load.command).toEqual(["SCRIPT", "LOAD", stripped(2)]);
  expect(load.answer(Buffer.from(sha1(stripped(2))))).toEqual(Buffer.from(sha1(script(2))));
});

test("the aliases used last are kept, up to the limit", () => {
  const translate = createScriptAliases(2);
  const resolved = (number: number) => translate(["EVALSHA", sha1(script(number)), "0"]).command[1];
  translate(["EVAL", script(1), "0"]);
  translate(["EVAL", script(2), "0"]);
  expect(resolved(1)).toBe(sha1(stripped(1)));
  translate(["EVAL", script(3), "0"]);
  expect(resolved(1)).toBe(sha1(stripped(1)));
  expect(resolved(2)).toBe(sha1(script(2)));
  expect(resolved(3)).toBe(sha1(stripped(3)));
});

test("incomplete commands are left to Redis to refuse", () => {
  const translate = createScriptAliases();
  for (const command of [["EVAL"], ["EVALSHA"], ["SCRIPT"], ["SCRIPT", "LOAD"], ["SCRIPT", "EXISTS"]]) {
    expect(translate(command).command).toEqual(command);
  }
});
