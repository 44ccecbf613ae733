import { Database } from "bun:sqlite";
import { createHash, randomUUID } from "node:crypto";
import { access, mkdir, readFile, rename, rm } from "node:fs/promises";
import { join, relative, resolve } from "node:path";

import { markDataDir } from "./data-dir.ts";
import { findJava } from "./java.ts";
import { Refusal } from "./refusal.ts";

const root = join(import.meta.dir, "..");
const cacheFolder = join(root, ".data", "jars");
const goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath";
/** The first time, some hundred megabytes may have to come. */
const limitMs = 270_000;
const shownLines = 15;

/**
 * The jars that a pom.xml of ours asks for, with all that they need themselves, as absolute paths in the order of a class path.
 * Maven fetches what is missing into its own repository (`~/.m2`) and holds it against its checksum; which files they are is kept in
 * `.data/jars/`, so that it is asked once per pom. Several processes may call this at once.
 *
 * @param pomFile its versions must be exact.
 * @throws {Refusal} says what is missing: Java, Maven, or what Maven could not fetch.
 */
export async function resolveJars(pomFile: string): Promise<string[]> {
  const pom = await readFile(pomFile, "utf8");
  const hash = createHash("sha256").update(pom).digest("hex").slice(0, 16);
  const listFile = join(cacheFolder, `${hash}.classpath`);
  const known = await readList(listFile);
  if (known) return known;
  await markDataDir(join(root, ".data"));
  await mkdir(cacheFolder, { recursive: true });
  const unlock = await lock(join(cacheFolder, "lock.sqlite"));
  try {
    return (await readList(listFile)) ?? (await askMaven(resolve(pomFile), listFile));
  } finally {
    unlock();
  }
}

async function askMaven(pomFile: string, listFile: string): Promise<string[]> {
  const java = await findJava();
  const maven = Bun.which("mvn");
  const name = relative(root, pomFile);
  if (!maven) throw new Refusal(`Maven (mvn) is not installed; it fetches the jars of ${name}.`);
  const partFile = `${listFile}.${randomUUID()}`;
  const strict = ["--batch-mode", "--quiet", "--strict-checksums"];
  const child = Bun.spawn([maven, ...strict, "-f", pomFile, goal, `-Dmdep.outputFile=${partFile}`], {
    env: { ...process.env, JAVA_HOME: java.home },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: limitMs,
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const list = child.exitCode === 0 ? await readList(partFile) : null;
  if (!list) {
    await rm(partFile, { force: true });
    const how = child.signalCode ? `took longer than ${limitMs / 1000} s` : `ended with exit code ${child.exitCode}`;
    const lines = `${output}${errors}`.trim().split("\n").slice(0, shownLines).join("\n");
    throw new Refusal(`Maven could not fetch the jars of ${name}: it ${how}.\n${lines}`);
  }
  await rename(partFile, listFile);
  return list;
}

/** Null when there is no such list, or when one of its files has gone since. */
async function readList(listFile: string): Promise<string[] | null> {
  try {
    const jars = (await readFile(listFile, "utf8")).trim().split(":");
    await Promise.all(jars.map((jar) => access(jar)));
    return jars;
  } catch {
    return null;
  }
}

/** Maven's repository is not made for two who write to it at once. The lock ends with its process, however that ends. */
async function lock(file: string): Promise<() => void> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const database = new Database(file);
    try {
      database.run("BEGIN EXCLUSIVE");
      return () => database.close();
    } catch (error) {
      database.close();
      const busy = error instanceof Error && "code" in error && error.code === "SQLITE_BUSY";
      if (!busy || Date.now() > deadline) throw error;
      await Bun.sleep(200);
    }
  }
}
