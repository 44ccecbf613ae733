import { afterEach, expect, test } from "bun:test";

import { freePorts } from "@flick/dev/ports.ts";
import { drainingHeader } from "@flick/proto/instances.ts";

import { createReplicaFetch } from "./replica-fetch.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A replica at an address of this machine; its answer, or that it is stopping. Gives back what it was asked. */
function startReplica(hostname: string, port: number, answer: string | null) {
  const asked: string[] = [];
  const server = Bun.serve({
    hostname,
    port,
    async fetch(request) {
      asked.push(`${request.headers.get("host")} ${await request.text()}`);
      if (answer !== null) return new Response(answer);
      return new Response("draining", { status: 503, headers: { [drainingHeader]: "true" } });
    },
  });
  stops.push(() => server.stop(true));
  return asked;
}

/** Calls of one fetch by a name with these two addresses. */
async function callTwo() {
  const [port = 0] = await freePorts(1);
  const fetch = createReplicaFetch(() => Promise.resolve(["127.0.0.1", "127.0.0.2"]));
  const call = () => fetch(`http://service:${port}/`, { method: "POST", body: "do it" });
  return { port, call };
}

/** Long enough for chance to bring both addresses first. */
const calls = 40;

test("calls are spread over all addresses of a name, which they bring along", async () => {
  const { port, call } = await callTwo();
  const [one, other] = [startReplica("127.0.0.1", port, "one"), startReplica("127.0.0.2", port, "other")];
  for (let i = 0; i < calls; i++) expect((await call()).status).toBe(200);
  expect(one.length + other.length).toBe(calls);
  expect(Math.min(one.length, other.length)).toBeGreaterThan(0);
  expect(new Set([...one, ...other])).toEqual(new Set([`service:${port} do it`]));
});

test("a call that an address refuses is made at the next one", async () => {
  const { port, call } = await callTwo();
  const asked = startReplica("127.0.0.2", port, "well");
  for (let i = 0; i < calls; i++) expect(await (await call()).text()).toBe("well");
  expect(asked.length).toBe(calls);
});

test("a call that a stopping replica has not begun with is made at the next one, and once", async () => {
  const { port, call } = await callTwo();
  const stopping = startReplica("127.0.0.1", port, null);
  const asked = startReplica("127.0.0.2", port, "well");
  for (let i = 0; i < calls; i++) expect(await (await call()).text()).toBe("well");
  expect(asked.length).toBe(calls);
  expect(stopping.length).toBeGreaterThan(0);
});

test("a name whose replicas are all away is tried again for a moment, and then fails", async () => {
  const { port, call } = await callTwo();
  const late = call();
  startReplica("127.0.0.1", port, "there now");
  expect(await (await late).text()).toBe("there now");
  const nobody = await callTwo();
  await expect(nobody.call()).rejects.toThrow(/ECONNREFUSED|ConnectionRefused/);
});

test("what broke off is not repeated", async () => {
  const { port, call } = await callTwo();
  let asked = 0;
  const breaking = (hostname: string) => {
    const server = Bun.listen({
      hostname,
      port,
      socket: {
        data(socket) {
          asked++;
          socket.end();
        },
      },
    });
    stops.push(async () => server.stop(true));
  };
  breaking("127.0.0.1");
  breaking("127.0.0.2");
  await expect(call()).rejects.toThrow();
  expect(asked).toBe(1);
});
