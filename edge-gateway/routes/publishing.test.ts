import { afterAll, beforeAll, expect, test } from "bun:test";

import { openEventStream } from "@flick/dev/event-stream.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { streamContentType } from "@flick/proto/stream.ts";

import { startFixture, viewerToken, type Fixture } from "../testing.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

test("the status of a video comes with its percentage, or why it failed", async () => {
  const states = [
    { status: VideoStatus.PROCESSING, percent: 40 },
    { status: VideoStatus.FAILED, percent: 40, reason: "no picture" },
    { status: VideoStatus.READY, percent: 100, coverStatus: VideoStatus.PROCESSING, coverTimeMs: 4200n },
    { status: VideoStatus.READY, percent: 100, coverStatus: VideoStatus.FAILED, coverReason: "gone" },
  ];
  fixture.origin.answer({ getPublishStatus: ({ videoId }) => ({ videoId, ...states.shift() }) });
  const ask = async () => (await fixture.call(`/publish/status/?video_id=7&token=${viewerToken}`)).json;
  const noCover = { cover_status: "", cover_time_ms: 0, cover_reason: "" };
  const success = { status_code: 0, status_msg: "success", video_id: 7, ...noCover };
  expect(await ask()).toEqual({ ...success, status: "processing", percent: 40, reason: "" });
  expect(await ask()).toEqual({ ...success, status: "failed", percent: 40, reason: "no picture" });
  const ready = { ...success, status: "ready", percent: 100, reason: "" };
  expect(await ask()).toEqual({ ...ready, cover_status: "processing", cover_time_ms: 4200 });
  expect(await ask()).toEqual({ ...ready, cover_status: "failed", cover_reason: "gone" });
  fixture.origin.answer({ getPublishStatus: () => Promise.reject(flickError(Reason.VIDEO_NOT_FOUND, "no such")) });
  const refused = { status_code: 30003, status_msg: "no such", video_id: 0, status: "", percent: 0, reason: "" };
  expect(await ask()).toEqual({ ...refused, ...noCover });
});

test("a cover is chosen by the moment that it is to show, which is not left to chance", async () => {
  const asked: unknown[] = [];
  fixture.origin.answer({
    chooseCover({ videoId, timeMs }, { requestHeader }) {
      asked.push([videoId, timeMs, requestHeader.get("authorization")]);
      return {};
    },
  });
  const choose = async (params: Record<string, string>) => {
    const body = new URLSearchParams({ token: viewerToken, ...params });
    return (await fixture.call("/publish/cover/", { method: "POST", body })).json;
  };
  expect(await choose({ video_id: "7", time_ms: "4200" })).toEqual({ status_code: 0, status_msg: "success" });
  expect(await choose({ video_id: "7", time_ms: "0" })).toMatchObject({ status_code: 0 });
  for (const params of [{ time_ms: "1" }, { video_id: "7" }, { video_id: "7", time_ms: "-1" }]) {
    expect(await choose(params as Record<string, string>)).toMatchObject({ status_code: Reason.INVALID_PARAMETER });
  }
  const bearer = `Bearer ${viewerToken}`;
  expect(asked).toEqual([
    [7n, 4200n, bearer],
    [7n, 0n, bearer],
  ]);
});

test("a video is retried by its id", async () => {
  const asked: unknown[] = [];
  fixture.origin.answer({
    retryVideo({ videoId }, { requestHeader }) {
      asked.push([videoId, requestHeader.get("authorization")]);
      return {};
    },
  });
  const body = new URLSearchParams({ token: viewerToken, video_id: "7" });
  const { json } = await fixture.call("/publish/retry/", { method: "POST", body });
  expect(json).toEqual({ status_code: 0, status_msg: "success" });
  expect(asked).toEqual([[7n, `Bearer ${viewerToken}`]]);
});

test("events are passed on as they come, of one video or of all", async () => {
  const asked: string[] = [];
  fixture.origin.answer({
    publishEvents(request) {
      asked.push(`${new URL(request.url).search} ${request.headers.get("authorization")}`);
      return new Response('data: {"video_id":7}\n\n', { headers: { "content-type": streamContentType } });
    },
  });
  for (const query of ["", "&video_id=7"]) {
    const stream = await openEventStream(`${fixture.gateway.url}/douyin/publish/events?token=${viewerToken}${query}`);
    await stream.ended;
    expect(stream.events).toEqual([{ id: "", data: '{"video_id":7}' }]);
  }
  expect(asked).toEqual([` Bearer ${viewerToken}`, `?video_id=7 Bearer ${viewerToken}`]);
});
