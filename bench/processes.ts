import { descendantsOf } from "@flick/dev/processes.ts";

/** A program with those that it started. */
export interface Watched {
  /** MiB that are resident. */
  memory(): Promise<number>;
  /** Milliseconds of processor time so far, in steps of 10. */
  cpuMs(): Promise<number>;
}

/** Looks for a program's children once: to look through all of the system's processes each time would be seen in what is measured. */
export async function watchProgram(pid: number): Promise<Watched> {
  const pids = [pid, ...descendantsOf(pid).map((each) => each.pid)];
  const sum = async (of: (pid: number) => Promise<number>) =>
    (await Promise.all(pids.map(of))).reduce((total, each) => total + each, 0);
  return {
    memory: () => sum(async (each) => Number(/VmRSS:\s+(\d+)/.exec(await read(each, "status"))?.[1] ?? 0) / 1024),
    cpuMs: () => sum(async (each) => sumOf(await statOf(each)) * 10),
  };
}

/** User and system time, in ticks of a hundredth of a second; see proc(5). */
const sumOf = (fields: string[]) => Number(fields[11] ?? 0) + Number(fields[12] ?? 0);

/** The fields behind the name, which may have blanks in it. */
async function statOf(pid: number): Promise<string[]> {
  const stat = await read(pid, "stat");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

const read = (pid: number, file: string) =>
  Bun.file(`/proc/${pid}/${file}`)
    .text()
    .catch(() => "");
