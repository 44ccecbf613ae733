import { expect, test } from "bun:test";

import { createLog } from "@flick/platform/log.ts";

import { createEventStreams } from "./event-streams.ts";

const log = createLog({ program: "origin", write: () => {} });
const identities = {
  viewer: (token: string) => Promise.resolve({ userId: Number(token), jti: "", generation: 0, expiresAt: Infinity }),
  hasEnded: () => false,
  service: () => Promise.resolve(null),
};

/** Streams whose requests are all read at once, when `letThemIn` is called. */
function startStreams() {
  const gate = Promise.withResolvers<void>();
  const streams = createEventStreams<void>(
    { log, now: Date.now },
    {
      path: "/stream",
      identities,
      limits: { streams: 5, streamsPerUser: 2 },
      read: () => gate.promise,
      feed: () => ({ stop: () => {} }),
    },
  );
  const ask = (userId: number) =>
    streams.handle(new Request("http://origin/stream", { headers: { authorization: `Bearer ${userId}` } }));
  return { streams, ask, letThemIn: gate.resolve };
}

const statuses = async (answers: Promise<Response>[]) => (await Promise.all(answers)).map(({ status }) => status);

test("however many come at once, a user has so many streams, and all of them together", async () => {
  const { streams, ask, letThemIn } = startStreams();
  const answers = statuses([1, 1, 1, 1, 2, 2, 3, 4, 5].map(ask));
  letThemIn();
  expect(await answers).toEqual([200, 200, 429, 429, 200, 200, 200, 503, 503]);
  streams.close();
});

test("a request that was being read when the service stopped opens no stream", async () => {
  const { streams, ask, letThemIn } = startStreams();
  const answers = statuses([ask(1)]);
  await Bun.sleep(0);
  streams.close();
  letThemIn();
  expect(await answers).toEqual([503]);
});
