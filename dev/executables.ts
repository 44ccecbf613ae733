import { Refusal } from "./refusal.ts";

/** Servers and tools that are not npm packages. */
export type Executable =
  | "mariadbd"
  | "mariadb-install-db"
  | "redis-server"
  | "ffmpeg"
  | "ffprobe"
  | "bwrap"
  | "java"
  | "javac"
  | "mvn";

/** The same program under the name that newer systems give it. */
const aliases: Partial<Record<Executable, string>> = { "redis-server": "valkey-server" };

/** Where packages put servers, which is not always on a user's PATH. */
const serverFolders = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin", "/usr/local/bin"];

/** @throws {Refusal} when it is not installed. */
export function findExecutable(name: Executable): string {
  const path = lookUp(name);
  if (path === null) throw new Refusal(`${name} is not installed.`);
  return path;
}

export function isInstalled(name: Executable): boolean {
  return lookUp(name) !== null;
}

function lookUp(name: Executable): string | null {
  const PATH = [process.env.PATH ?? "", ...serverFolders].join(":");
  for (const candidate of [name, aliases[name] ?? name]) {
    const path = Bun.which(candidate, { PATH });
    if (path) return path;
  }
  return null;
}
