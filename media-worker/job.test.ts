import { afterAll, beforeAll, expect, test } from "bun:test";
import { tmpdir } from "node:os";

import { createClient } from "@connectrpc/connect";
import { createLog } from "@flick/platform/log.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { MediaJobService, type Job } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import type { JobService } from "./claim.ts";
import { createDiskBudget } from "./disk-budget.ts";
import { createJobKind } from "./job.ts";
import type { MadeVideo } from "./process-video.ts";
import { startJobService, testServiceSecret, type TestJobService } from "./testing.ts";

const never = new AbortController().signal;

let service: TestJobService;
let jobs: JobService<Job, MadeVideo>;

beforeAll(() => {
  service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  const transport = createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 });
  jobs = createClient(MediaJobService, transport);
});
afterAll(() => service.stop());

test("a job that a full worker has no room for is given back, and that is no fault of its own", async () => {
  const disk = createDiskBudget({ dir: tmpdir(), maxBytes: 100, waitMs: 0 });
  await disk.reserve(60, never);
  const kind = createJobKind<Job, MadeVideo>({
    name: "video",
    topic: "cdc.videos",
    jobs,
    reserve: (_job, signal) => disk.reserve(50, signal),
    process: () => Promise.reject(new Error("there was room")),
    ourFault: "This video could not be processed.",
    otherIds: () => [],
    log: createLog({ program: "test", write: () => {} }),
  });
  const videoId = service.add("raw/1");
  expect(await kind.work(videoId, never)).toBe(true);
  expect(service.videos.get(videoId)?.failed).toMatchObject([{ permanent: false, interrupted: true }]);
});
