import { beforeEach, expect, test } from "bun:test";

import { createLiveConfig, type LiveConfig } from "./live-config.ts";
import { choice, describeSettings, flag, section, whole } from "./settings.ts";

const schema = section({
  cache: section({ seconds: whole({ default: 30, min: 1, max: 60, what: "how long" }) }),
  comments: flag({ default: true, what: "new comments" }),
  mode: choice({ default: "calm", of: ["calm", "wild"], what: "manners" }),
});
const defaults = { cache: { seconds: 30 }, comments: true, mode: "calm" };

const logged: { level: string; message: string; fields: Record<string, unknown> | undefined }[] = [];
const log = {
  info: (message: string, fields?: Record<string, unknown>) => void logged.push({ level: "info", message, fields }),
  warn: (message: string, fields?: Record<string, unknown>) => void logged.push({ level: "warn", message, fields }),
};
let live: LiveConfig<object>;
beforeEach(() => {
  logged.length = 0;
  live = createLiveConfig({ schema, log });
});

const stored = (version: number, settings: unknown) => JSON.stringify({ version, time: 1, note: "", settings });

test("begins with the defaults and takes what is stored over them", () => {
  expect(live.current()).toEqual(defaults);
  live.take(null);
  expect(logged).toEqual([]);
  live.take(stored(3, { cache: { seconds: 5 } }));
  expect(live.current()).toEqual({ ...defaults, cache: { seconds: 5 } });
  expect(live.version()).toBe(3);
});

test("goes back to the defaults when nothing is stored any more", () => {
  live.take(stored(3, { comments: false }));
  live.take(null);
  expect(live.current()).toEqual(defaults);
  expect(live.version()).toBe(0);
});

const rubbish: [string, string, string][] = [
  ["no JSON", "{", "it is no configuration document"],
  ["JSON of another form", '{"comments":false}', "it is no configuration document"],
  ["null", "null", "it is no configuration document"],
  ["no settings", stored(4, null), "the settings must be an object of settings"],
  ["a list of settings", stored(4, []), "the settings must be an object of settings"],
  ["a list in place of a section", stored(4, { cache: [] }), "cache must be an object of settings"],
  ["a setting that there is not", stored(4, { cache: { minutes: 1 } }), "cache.minutes is no setting"],
  [
    "a number out of bounds",
    stored(4, { cache: { seconds: 61 } }),
    "cache.seconds must be a whole number from 1 to 60",
  ],
  ["a fraction", stored(4, { cache: { seconds: 1.5 } }), "cache.seconds must be a whole number from 1 to 60"],
  ["text for a flag", stored(4, { comments: "no" }), "comments must be true or false"],
  ["another word", stored(4, { mode: "odd" }), "mode must be one of calm, wild"],
];

test.each(rubbish)("keeps the last good version over %s, and says once what is wrong", (_name, text, problem) => {
  live.take(stored(3, { comments: false }));
  logged.length = 0;
  live.take(text);
  live.take(text);
  expect(live.current()).toEqual({ ...defaults, comments: false });
  expect(live.version()).toBe(3);
  expect(logged).toMatchObject([{ level: "warn", fields: { stays: 3, problems: [problem] } }]);
});

test("takes a good version after a bad one", () => {
  live.take(stored(4, { mode: "odd" }));
  live.take(stored(5, { mode: "wild" }));
  expect(live.current()).toEqual({ ...defaults, mode: "wild" });
});

test("every setting tells its default, its bounds and what it is for", () => {
  expect(describeSettings(schema)).toEqual([
    { path: "cache.seconds", default: 30, bounds: "1 to 60", what: "how long" },
    { path: "comments", default: true, bounds: "true, false", what: "new comments" },
    { path: "mode", default: "calm", bounds: "calm, wild", what: "manners" },
  ]);
});
