import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { call, login, setUpLimitTests } from "./testing-rate-limit.ts";
import { viewerToken as token } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpLimitTests();

describe("what is turned off", () => {
  test("is answered with a sentence, and the rest goes on", async () => {
    await t.configure({ features: { registration: false, publishing: false, comments: false, messages: false } });
    t.origin.answer({ deleteComment: () => ({}), login: () => ({ userId: 7n, token: "t" }) });
    const gateway = await t.start(t.startFront());
    const closed: [string, object][] = [
      ["/user/register?username=zoe&password=secret1", { token: "", user_id: 0 }],
      ["/comment/action?video_id=1&action_type=1&comment_text=hm", { comment: { id: 0 } }],
      ["/message/action?to_user_id=2&action_type=1&content=hm", {}],
    ];
    for (const [path, empty] of closed) {
      const { status, json } = await call(gateway, path, { token });
      expect(status).toBe(200);
      expect(json).toMatchObject({
        status_code: Reason.TURNED_OFF,
        status_msg: expect.stringContaining("at the moment"),
      });
      expect(json).toMatchObject(empty);
    }
    const form = new FormData();
    form.set("data", new Blob(["x"]), "x.mp4");
    const published = await fetch(`${gateway.url}/douyin/publish/action`, { method: "POST", body: form });
    expect(await published.json()).toMatchObject({ status_code: Reason.TURNED_OFF, video_id: 0 });
    expect(
      (await call(gateway, "/comment/action?video_id=1&action_type=2&comment_id=3", { token })).json,
    ).toMatchObject({ status_code: 0 });
    expect((await login(gateway, "zoe")).json).toMatchObject({ status_code: 0 });
  });
});
