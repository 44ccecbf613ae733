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
  ];
  fixture.origin.answer({ getPublishStatus: ({ videoId }) => ({ videoId, ...states.shift() }) });
  const ask = async () => (await fixture.call(`/publish/status/?video_id=7&token=${viewerToken}`)).json;
  const success = { status_code: 0, status_msg: "success", video_id: 7 };
  expect(await ask()).toEqual({ ...success, status: "processing", percent: 40, reason: "" });
  expect(await ask()).toEqual({ ...success, status: "failed", percent: 40, reason: "no picture" });
  fixture.origin.answer({ getPublishStatus: () => Promise.reject(flickError(Reason.VIDEO_NOT_FOUND, "no such")) });
  const refused = { status_code: 30003, status_msg: "no such", video_id: 0, status: "", percent: 0, reason: "" };
  expect(await ask()).toEqual(refused);
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
