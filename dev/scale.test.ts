import { expect, test } from "bun:test";
import { join } from "node:path";
import { runInNewContext } from "node:vm";

const page = await Bun.file(join(import.meta.dir, "../docs/scale.md")).text();
const rows = [...page.matchAll(/^\| `(\w+)` \| `([^`]+)` \| ([\d. ]+(?:e\d+)?) \|/gm)];

test("every number of the page on scale follows from those above it", () => {
  const known: Record<string, number> = {};
  for (const [, name = "", reckoning = "", shown = ""] of rows) {
    const value = Number(runInNewContext(reckoning, { ...known }));
    const digits = Number(shown.replaceAll(" ", ""));
    // Three digits are shown.
    expect(Math.abs(value / digits - 1), `${name} is ${value}, not ${shown}`).toBeLessThan(0.005);
    known[name] = value;
  }
  expect(rows.length).toBeGreaterThan(60);
});

test("its text gives the same numbers", () => {
  const shown = new Map(rows.map(([, name = "", , value = ""]) => [name, value]));
  const said: [name: string, value: string, words: string][] = [
    ["processes", "62.8", "63 cores"],
    ["events_peak", "66 400", "66 000 events a second"],
    ["redis_keys_peak", "1.25e6", "1.25 million keys a second"],
    ["writes_peak", "19 100", "19 000 writes a second"],
    ["rows_bytes_day", "109e9", "109 GB a day"],
    ["kafka_bytes", "14.4e12", "14 TB of Kafka"],
    ["redis_bytes", "75.7e9", "76 GB of Redis"],
    ["oss_gbit_peak", "110", "110 Gb/s"],
    ["worker_cores", "185", "185 to 556 cores"],
    ["play_bytes_day", "19.7e15", "20 PB a day"],
  ];
  for (const [name, value, words] of said) {
    expect(shown.get(name), name).toBe(value);
    expect(page.replaceAll("\n", " "), name).toContain(words);
  }
});
