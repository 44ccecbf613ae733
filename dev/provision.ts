import { readFileSync } from "node:fs";
import { join } from "node:path";

import { isInstalled, type Executable } from "./executables.ts";
import { secondsSince, type Output } from "./output.ts";
import { Refusal } from "./refusal.ts";

/** What the local stack runs that is not an npm package. */
export type Need = "mariadb" | "redis" | "ffmpeg" | "bubblewrap" | "java" | "maven";

/** The machine, as far as it decides how to install something. */
export interface Machine {
  platform: NodeJS.Platform;
  root: boolean;
  /** `ID`, `ID_LIKE` and `VERSION_ID` of os-release(5); empty where there is no such file. */
  osRelease: Record<string, string>;
  /** Which of these are on the PATH. */
  packageManagers: readonly PackageManager[];
}

export type PackageManager = "apt-get" | "dnf" | "brew" | "pacman";

export type Plan =
  | { do: "nothing" }
  | { do: "install"; packages: string[] }
  /** `command` is null when we do not know this system's package manager. */
  | { do: "ask"; missing: Need[]; command: string | null };

/** What to do about servers and tools that are missing: root on Debian or Ubuntu may install, anybody else is told how to. */
export function planProvision(allMissing: readonly Need[], machine: Machine): Plan {
  const manager = managerOf(machine);
  const mayInstall = manager === "apt-get" && machine.root;
  const missing = allMissing.filter((need) => mayInstall || !optional.has(need));
  if (missing.length === 0) return { do: "nothing" };
  if (manager === null) return { do: "ask", missing, command: null };
  const packages = missing.flatMap((need) => packageNames(need, manager, machine));
  if (mayInstall) return { do: "install", packages };
  const sudo = machine.root || manager === "brew" ? "" : "sudo ";
  return { do: "ask", missing, command: `${sudo}${installCommands[manager]} ${packages.join(" ")}` };
}

/**
 * Brings in what is missing of the needs.
 *
 * @throws {Refusal} with the exact command for this system where we cannot install by ourselves, or when that failed.
 */
export async function provision(needs: readonly Need[], output: Output): Promise<void> {
  const missing = needs.filter((need) => !executables[need].every(isInstalled));
  const plan = planProvision(missing, thisMachine());
  if (plan.do === "nothing") return;
  if (plan.do === "ask") throw new Refusal(request(plan.missing, plan.command));
  const start = performance.now();
  output.say(`installing ${plan.packages.join(", ")} with apt-get (once; takes about half a minute)`);
  await aptInstall(plan.packages);
  const stillMissing = needs.filter((need) => !executables[need].every(isInstalled));
  if (stillMissing.length > 0) throw new Refusal(`apt-get succeeded, but ${stillMissing.join(", ")} cannot be found.`);
  output.say(`installed (${secondsSince(start)})`);
}

/**
 * Installs Debian packages without starting the services that they bring: a policy-rc.d that says no stands in the way
 * meanwhile (invoke-rc.d(8)). One that was there before is left alone; ours is removed also when we are interrupted or killed.
 */
export async function aptInstall(
  packages: readonly string[],
  options = { policyFile: "/usr/sbin/policy-rc.d" },
): Promise<void> {
  const script = join(import.meta.dir, "apt-install.sh");
  const apt = Bun.spawn(["sh", script, options.policyFile, ...packages], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 900_000,
  });
  const [log, errors] = await Promise.all([apt.stdout.text(), apt.stderr.text(), apt.exited]);
  if (apt.exitCode === 0) return;
  const lastLines = `${log}${errors}`.trim().split("\n").slice(-20).join("\n");
  throw new Refusal(
    `apt-get could not install ${packages.join(" ")} (${apt.signalCode ?? `exit code ${apt.exitCode}`}):\n${lastLines}`,
  );
}

const executables: Record<Need, Executable[]> = {
  mariadb: ["mariadbd", "mariadb-install-db"],
  redis: ["redis-server"],
  ffmpeg: ["ffmpeg", "ffprobe"],
  bubblewrap: ["bwrap"],
  java: ["java", "javac"],
  maven: ["mvn"],
};

/** What the stack does without where it cannot be installed without asking. */
const optional: ReadonlySet<Need> = new Set(["bubblewrap"]);

const installCommands: Record<PackageManager, string> = {
  "apt-get": "apt-get install -y --no-install-recommends",
  dnf: "dnf install -y",
  brew: "brew install",
  pacman: "pacman -S --needed",
};

function packageNames(need: Need, manager: PackageManager, machine: Machine): string[] {
  const names: Record<PackageManager, Partial<Record<Need, string[]>>> = {
    "apt-get": { mariadb: debianMariadb(machine), redis: ["redis-server"], java: ["default-jdk-headless"] },
    dnf: { mariadb: ["mariadb-server"], redis: ["valkey"], java: ["java-21-openjdk-devel"] },
    brew: { mariadb: ["mariadb"], redis: ["redis"], java: ["openjdk"] },
    pacman: { mariadb: ["mariadb"], redis: ["valkey"], java: ["jdk-openjdk"] },
  };
  return names[manager][need] ?? [need];
}

/** The programs without the system service around them, where a release has them under a name without a version. */
function debianMariadb({ osRelease }: Machine): string[] {
  const since: Record<string, number> = { debian: 12, ubuntu: 24.04 };
  const first = since[osRelease.ID ?? ""];
  const core = first !== undefined && Number(osRelease.VERSION_ID) >= first;
  return core ? ["mariadb-server-core", "mariadb-client-core"] : ["mariadb-server"];
}

function managerOf({ platform, osRelease, packageManagers }: Machine): PackageManager | null {
  if (platform === "darwin") return "brew";
  const families = [osRelease.ID, ...(osRelease.ID_LIKE ?? "").split(" ")];
  if (families.some((id) => id === "debian" || id === "ubuntu") && packageManagers.includes("apt-get"))
    return "apt-get";
  return packageManagers[0] ?? null;
}

function request(missing: readonly Need[], command: string | null): string {
  const what = `The local stack needs ${missing.join(", ")}, which this machine does not have.`;
  if (command === null)
    return `${what} Install ${missing.length > 1 ? "them" : "it"} with this system's package manager, then try again.`;
  const note = command.includes("dnf")
    ? "\n(Fedora's own ffmpeg-free cannot encode H.264: ffmpeg comes from https://rpmfusion.org.)"
    : "";
  return `${what} Install with:\n\n  ${command}\n\nthen try again.${note}`;
}

function thisMachine(): Machine {
  const managers: PackageManager[] = ["apt-get", "dnf", "pacman", "brew"];
  return {
    platform: process.platform,
    root: process.getuid?.() === 0,
    osRelease: readOsRelease(),
    packageManagers: managers.filter((manager) => Bun.which(manager)),
  };
}

function readOsRelease(): Record<string, string> {
  try {
    const lines = readFileSync("/etc/os-release", "utf8").split("\n");
    return Object.fromEntries(
      lines.flatMap((line) => {
        const match = /^(\w+)="?([^"]*)"?$/.exec(line);
        return match?.[1] === undefined || match[2] === undefined ? [] : [[match[1], match[2]]];
      }),
    );
  } catch {
    return {};
  }
}
