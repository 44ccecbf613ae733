import { expect, test } from "bun:test";

import { createGateway } from "./gateway.ts";
import { startFixtureOrigin } from "./testing.ts";

const addressOf = () => undefined;

test("reaches its origins through the network that is bound, and not otherwise", async () => {
  const origin = startFixtureOrigin();
  origin.answer({ getFeed: () => ({ nextBeforeMs: 9n }) });
  const asked: string[] = [];
  const gateway = createGateway(
    {
      ORIGIN_URL: "http://10.0.0.7:8090",
      MAX_UPLOAD_BYTES: 5000,
      ORIGIN_NETWORK: {
        fetch(url: string, init: RequestInit) {
          asked.push(url);
          return fetch(url.replace("http://10.0.0.7:8090", origin.url), init);
        },
      },
    },
    { addressOf },
  );
  if ("problems" in gateway) throw new Error(gateway.problems.join());
  const answer = await gateway.app.request("/douyin/feed/");
  expect(await answer.json()).toMatchObject({ status_code: 0, next_time: 9 });
  expect(asked).toEqual(["http://10.0.0.7:8090/flick.video.v1.VideoService/GetFeed"]);
  await origin.stop();
});

test("tells browsers to come by https only, where they came by https", async () => {
  const gateway = createGateway({ ORIGIN_URL: "http://10.0.0.7:8090", MAX_UPLOAD_BYTES: 5000 }, { addressOf });
  if ("problems" in gateway) throw new Error(gateway.problems.join());
  const hsts = async (url: string) => (await gateway.app.request(url)).headers.get("strict-transport-security");
  expect(await hsts("https://flick.example/healthz")).toBe("max-age=31536000");
  expect(await hsts("http://flick.example/healthz")).toBeNull();
});
