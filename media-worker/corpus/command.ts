import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { corpus, runCorpus, startBait } from "./corpus.ts";
import { table } from "./report.ts";
import { coverOf, type EntryResult } from "./run.ts";
import { makeSheet } from "./sheet.ts";

const help = `Makes files that are odd, broken or hostile, has each processed as the media worker does it, and compares
what becomes of it with what should. Nothing is fetched; FFmpeg is all it takes.

  bun run media corpus [text...]    only the files whose name contains one of the texts
    --fast                          only those that run with the tests
    --list                          names them and what should become of them
    --keep FOLDER                   keeps the files there, and the covers of the good ones
    --lanes N                       so many at a time (default 1)
    --table FILE                    writes what was expected and what came of each, as Markdown
    --sheet FILE                    makes a picture (PNG) of all the covers that were chosen
`;

const limitMs = 3_600_000;
const sheetLayout = { columns: 12, width: 120, height: 160 };

/** `bun run media corpus`. Returns the exit code: 1 when something is not as it should be. */
export async function corpusCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: "boolean", default: false },
      fast: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      keep: { type: "string" },
      lanes: { type: "string", default: "1" },
      table: { type: "string" },
      sheet: { type: "string" },
    },
  });
  if (values.help) return say(help);
  const chosen = corpus.filter(
    ({ name, fast }) =>
      (fast || !values.fast) && (positionals.length === 0 || positionals.some((text) => name.includes(text))),
  );
  if (values.list) {
    for (const { name, expect } of chosen) say(`${nameOf(name)}${JSON.stringify(expect)}\n`);
    return 0;
  }
  const dir = await mkdtemp(join(tmpdir(), "flick-corpus-"));
  const bait = startBait();
  const results: EntryResult[] = [];
  const began = performance.now();
  try {
    const lanes = Math.min(16, Math.max(1, Number(values.lanes) || 1));
    const keep = values.keep ?? (values.sheet ? join(dir, "kept") : undefined);
    const options = { dir, bait: bait.url, lanes, ...(keep ? { keep } : {}), signal: AbortSignal.timeout(limitMs) };
    await runCorpus(chosen, options, (result) => {
      results.push(result);
      say(line(result));
    });
    results.sort((one, other) => chosen.indexOf(one.entry) - chosen.indexOf(other.entry));
    if (values.table) await writeFile(values.table, table(results));
    const ready = results.filter(({ outcome }) => outcome.startsWith("ready"));
    if (values.sheet && keep && ready.length > 0) {
      await makeSheet(
        ready.map(({ entry }) => join(keep, coverOf(entry))),
        resolve(values.sheet),
        sheetLayout,
      );
    }
  } finally {
    await bait.stop();
    await rm(dir, { recursive: true, force: true });
  }
  for (const request of bait.requests) say(`A file made the worker ask for ${request}\n`);
  const wrong = results.filter(({ faults }) => faults.length > 0).length;
  const seconds = Math.round((performance.now() - began) / 1000);
  const bitten = `${bait.requests.length} requests to the bait`;
  say(`\n${chosen.length} files, ${wrong} not as they should be, ${bitten}, ${seconds} s\n`);
  return wrong + bait.requests.length > 0 ? 1 : 0;
}

function line({ entry, outcome, faults, bytes, workMs }: EntryResult): string {
  const mark = faults.length === 0 ? "ok  " : "BAD ";
  const seconds = `${(workMs / 1000).toFixed(1)} s`.padStart(7);
  const size = `${Math.ceil(bytes / 1024)} KiB`.padStart(9);
  return [
    `${mark}${nameOf(entry.name)}${size}${seconds}  ${outcome}\n`,
    ...faults.map((fault) => `       ${fault}\n`),
  ].join("");
}

/** As it can be printed. */
const nameOf = (name: string) => JSON.stringify(name).slice(1, -1).padEnd(32);

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}
