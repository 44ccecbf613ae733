import type { Entry } from "./entry.ts";
import type { EntryResult } from "./run.ts";

/** What was expected of each file and what came of it, as a table in Markdown. */
export function table(results: readonly EntryResult[]): string {
  const rows = results.map(({ entry, outcome, faults }) => {
    const is = faults.length === 0 ? outcome : `**${outcome}: ${faults.join("; ")}**`;
    return `| ${[name(entry), expected(entry), is].map(escape).join(" | ")} |\n`;
  });
  return `| file | expected | outcome |\n|---|---|---|\n${rows.join("")}`;
}

function name({ name: given }: Entry): string {
  return JSON.stringify(given).slice(1, -1);
}

function expected({ expect }: Entry): string {
  if (expect.outcome === "failed") return `failed: … ${expect.reason} …`;
  const sound = { level: "leveled sound", present: "sound", none: "no sound" }[expect.sound];
  const copied = expect.copied?.length ? [`${expect.copied.join(" and ")} copied`] : [];
  return [`ready: ${expect.renditions.join(" ")}`, `${(expect.durationMs / 1000).toFixed(2)} s`, sound, ...copied].join(
    ", ",
  );
}

const escape = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
