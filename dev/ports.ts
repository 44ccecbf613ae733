import { createServer } from "node:net";

import { Refusal } from "./refusal.ts";

/** Every server of the stack listens here, so that nothing of it can be reached from another machine. */
export const host = "127.0.0.1";

export interface WantedPort {
  /** Who will listen, as a person would name it. */
  owner: string;
  port: number;
  /** The variable that moves it elsewhere. */
  variable: string;
}

/** @throws {Refusal} names every port that is taken, who wants it and the variable that changes it. */
export async function requireFreePorts(wanted: readonly WantedPort[]): Promise<void> {
  const problems = await Promise.all(
    wanted.map(async ({ owner, port, variable }, index) => {
      const rival = wanted.slice(0, index).find((other) => other.port === port);
      const code = rival ? "EADDRINUSE" : await tryPort(port);
      if (code === null) return null;
      const reason = rival
        ? `is also given to ${rival.owner}`
        : code === "EADDRINUSE"
          ? "is taken by another program"
          : `cannot be opened (${code})`;
      return `Port ${port}, wanted by ${owner}, ${reason}. Choose another one with ${variable}=<port>.`;
    }),
  );
  const found = problems.filter((problem) => problem !== null);
  if (found.length > 0) throw new Refusal(found.join("\n"));
}

/** Below the ports that Linux and macOS give to outgoing connections, so that none of these takes one between the choice and its use. */
const firstFreePort = 20_000;
const lastFreePort = 31_999;
const maxTries = 1_000;
/** Not to be found a second time: whom they were found for may not listen yet. */
const given = new Set<number>();

/**
 * Ports that nobody listens on at the moment, all different, and never the same ones twice in a process. Where `FLICK_TEST_PORTS` says
 * from which to which (`20000-22999`), they are among those.
 */
export async function freePorts(count: number): Promise<number[]> {
  const [first = firstFreePort, last = lastFreePort] = process.env["FLICK_TEST_PORTS"]?.split("-").map(Number) ?? [];
  const found: number[] = [];
  for (let tries = 0; found.length < count; tries++) {
    if (tries === maxTries) throw new Error(`no ${count} free ports from ${first} to ${last}`);
    const port = first + Math.floor(Math.random() * (last - first + 1));
    if (given.has(port)) continue;
    given.add(port);
    if ((await tryPort(port)) === null) found.push(port);
  }
  return found;
}

/** `FLICK_TEST_PORTS` for one of several processes that look for free ports at the same time, so that no two choose the same. */
export function portsOfPlace(place: number, places: number): string {
  const size = Math.floor((lastFreePort - firstFreePort + 1) / places);
  const first = firstFreePort + place * size;
  return `${first}-${first + size - 1}`;
}

/** Null when the port can be had, else the system's error code. */
async function tryPort(port: number): Promise<string | null> {
  try {
    const server = await listen(port);
    await server.close();
    return null;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

function listen(port: number): Promise<{ port: number; close: () => Promise<void> }> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      if (address === null || typeof address === "string")
        throw new TypeError("a TCP server has an address with a port");
      resolve({ port: address.port, close: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
