import { constants, tmpdir } from "node:os";

/** What a program that reads a hostile file sees of this machine: itself and the folder of its job, or all that this user sees. */
export type Sandbox = "bubblewrap" | "none";

export interface SandboxChoice {
  sandbox: Sandbox;
  /** Why there is none although one was wanted; null otherwise. */
  why: string | null;
}

const tryLimitMs = 10_000;

/**
 * Finds out by trying whether bubblewrap works here: it needs user namespaces (or root), which many containers forbid.
 *
 * @param wanted `auto` takes it where it works.
 * @param launch the launcher with FFmpeg and its limits; what it is to do in the sandbox follows.
 */
export function chooseSandbox(wanted: Sandbox | "auto", launch: readonly string[]): SandboxChoice {
  if (wanted === "none") return { sandbox: "none", why: null };
  if (!Bun.which("bwrap")) return { sandbox: "none", why: "bwrap is not installed" };
  const tried = Bun.spawnSync([...launch, "bubblewrap", "-version"], {
    cwd: tmpdir(),
    env: { PATH: process.env.PATH },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: tryLimitMs,
    killSignal: "SIGKILL",
  });
  if (tried.success) return { sandbox: "bubblewrap", why: null };
  const [complaint] = tried.stderr.toString().trim().split("\n");
  return { sandbox: "none", why: complaint || `it ended with ${tried.signalCode ?? tried.exitCode}` };
}

/** The signal that ended a program in a sandbox, which tells of it as shells do: 128 and its number. */
export function signalBehind(exitCode: number): string | null {
  const [name = null] = Object.entries(constants.signals).find(([, number]) => exitCode === 128 + number) ?? [];
  return name;
}

/** Did the sandbox fail, rather than the program in it? */
export function sandboxFailed(stderr: string): boolean {
  return /^bwrap: /m.test(stderr);
}
