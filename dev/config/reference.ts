import { describeSettings } from "@flick/platform/live-config/settings.ts";

import { programs } from "./programs.ts";

const page = new URL("../../docs/configuration.md", import.meta.url);

/** `docs/configuration.md` with the tables of settings as the schemas have them now. */
export async function pageWithSettings(): Promise<{ before: string; after: string }> {
  const before = await Bun.file(page).text();
  const after = Object.entries(programs).reduce((text, [program, schema]) => {
    const rows = describeSettings(schema).map(
      ({ path, default: usual, bounds, what }) => `| \`${path}\` | ${String(usual)} | ${bounds} | ${what} |`,
    );
    const table = ["| setting | default | values | |", "|---|---|---|---|", ...rows].join("\n");
    const place = new RegExp(`(<!-- settings of ${program} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!place.test(text)) throw new Error(`docs/configuration.md has no place for the settings of ${program}`);
    return text.replace(place, (_all, begin: string, end: string) => `${begin}${table}\n${end}`);
  }, before);
  return { before, after };
}

if (import.meta.main) await Bun.write(page, (await pageWithSettings()).after);
