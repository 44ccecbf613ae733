import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";

import * as v from "valibot";

import { parseComposeFile } from "./compose-file.ts";

const root = join(import.meta.dir, "..");
const { services } = parseComposeFile(await readFile(join(root, "docker-compose.yml"), "utf8"));
/** Those of our own programs; Flink's is another matter. */
const builds = Object.values(services).flatMap(({ build, command }) =>
  build?.context === "." ? [{ file: build.dockerfile, command }] : [],
);
const { workspaces, devDependencies } = v.parse(
  v.object({ workspaces: v.array(v.string()), devDependencies: v.object({ bun: v.string() }) }),
  JSON.parse(await readFile(join(root, "package.json"), "utf8")),
);

const files = [...new Set(builds.map(({ file }) => file))];

test.each(files)(
  "%s is built on the Bun that package.json names, with every workspace that the lockfile knows",
  (file) => {
    const text = readFileSync(join(root, file), "utf8");
    const bases = new Set([...text.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base));
    expect([...bases]).toEqual([`oven/bun:${devDependencies.bun}-slim`]);
    for (const workspace of workspaces) expect(text).toContain(`COPY ${workspace}/package.json ${workspace}/\n`);
  },
);

test.each(files)("%s holds every workspace out of which its programs import", (file) => {
  const text = readFileSync(join(root, file), "utf8");
  for (const { command } of builds.filter((build) => build.file === file)) {
    const run = command?.join(" ") ?? text.replaceAll('", "', " ");
    const program = /\bbun ([\w/-]+\.ts)\b/.exec(run)?.[1] ?? "no program";
    for (const workspace of workspacesOf(program)) expect(text).toContain(`COPY ${workspace} ${workspace}\n`);
  }
});

test.each(files)("%s installs what every workspace in it needs", (file) => {
  const text = readFileSync(join(root, file), "utf8");
  const installed = new Set([...text.matchAll(/--filter @flick\/([\w-]+)/g)].map(([, workspace = ""]) => workspace));
  for (const workspace of installed) {
    const { dependencies } = manifestOf(workspace);
    for (const [name, version] of Object.entries(dependencies))
      if (version.startsWith("workspace:")) installed.add(name.replace("@flick/", ""));
  }
  const copied = [...text.matchAll(/^COPY ([\w-]+) \1$/gm)].map(([, workspace = ""]) => workspace);
  expect(copied.filter((workspace) => !installed.has(workspace))).toEqual([]);
});

test("the gateway's image holds the Worker, which is bundled when it starts", () => {
  const text = readFileSync(join(root, "dev/Dockerfile"), "utf8");
  for (const workspace of workspacesOf("edge-gateway/worker.ts"))
    expect(text).toContain(`COPY ${workspace} ${workspace}\n`);
  expect(text).toContain("COPY wrangler.toml ");
});

function manifestOf(workspace: string) {
  const text = readFileSync(join(root, workspace, "package.json"), "utf8");
  return v.parse(v.object({ dependencies: v.optional(v.record(v.string(), v.string()), {}) }), JSON.parse(text));
}

/** The workspaces of all files that a program imports. */
function workspacesOf(program: string): Set<string> {
  const found = new Set([join(root, program)]);
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  for (const file of found) {
    // What a program takes as text imports nothing.
    if (!/\.[jt]s$/.test(file)) continue;
    for (const { path } of transpiler.scanImports(readFileSync(file))) {
      if (path.startsWith("@flick/")) found.add(join(root, path.replace("@flick/", "")));
      else if (path.startsWith(".")) found.add(join(file, "..", path));
    }
  }
  return new Set([...found].map((file) => relative(root, file).replace(/\/.*/, "")));
}
