import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { pauseFfmpeg } from "@flick/dev/testing-ffmpeg.ts";
import { describeWithKafka } from "@flick/dev/testing-kafka.ts";
import { deadLetterTopic, topics } from "@flick/platform/event-log/topics.ts";

import { startFleet, type Fleet } from "./fleet.ts";
import { signUpViewers, type Viewers } from "./fleet-viewers.ts";
import { kafkaOutage } from "./kafka-outage.ts";
import { ffmpeg } from "./running-stack.ts";

setDefaultTimeout(180_000);

await describeWithKafka("Flick on Kafka", () => {
  let fleet: Fleet;
  let viewers: Viewers;
  beforeAll(async () => {
    const services = ["user,video,favorite,comment,relation,message"];
    fleet = await startFleet({ services, workers: 2, gateways: 1, kafka: true });
    viewers = await signUpViewers(fleet, 4);
  });
  afterAll(() => fleet.stop());

  test("Kafka away for eight seconds under load: writes and reads go on, and afterwards everything is caught up and exact", async () => {
    const { failedReads, failedWrites, wrongCounts, lies, ...run } = await kafkaOutage(fleet, viewers, 8_000);
    process.stdout.write(`${JSON.stringify(run)}\n`);
    expect({ failedReads, failedWrites, wrongCounts, lies }).toEqual({
      failedReads: [],
      failedWrites: [],
      wrongCounts: [],
      lies: [],
    });
    expect(run.writesMeanwhile).toBeGreaterThan(20);
    expect(run.compared).toBeGreaterThan(5);
    const names = topics.map(({ name }) => name);
    const lettered = names.filter((name) => names.includes(deadLetterTopic(name)));
    const letters = await Promise.all(lettered.map((name) => fleet.eventLog.deadLetters(name, 1)));
    expect(letters.flat()).toEqual([]);
  });

  test("a worker that leaves and joins its group while another transcodes does not make that job begin anew", async () => {
    const path = join(fleet.dir, "long.mp4");
    const picture = ["-f", "lavfi", "-i", "testsrc2=size=720x1280:rate=30", "-t", "5"];
    await ffmpeg(...picture, "-pix_fmt", "yuv420p", "-preset", "ultrafast", path);
    const before = fleet.jobs("job taken").map((tags) => tags.length);
    const id = await viewers.publish(Bun.file(path));
    const taken = () => fleet.jobs("job taken").map((tags, worker) => tags.length - (before[worker] ?? 0));
    const ended = () => fleet.jobs("job ready").flat().length;
    const endedBefore = ended();
    while (!taken().includes(1)) await Bun.sleep(50);
    const busy = fleet.workers[taken().indexOf(1)];
    const idle = fleet.workers[taken().indexOf(0)];
    // However fast the machine is, the job is not done before the other worker is back.
    const paused = await pauseFfmpeg(busy?.pid() ?? 0);
    await idle?.stop();
    await idle?.start();
    for (const pid of paused) process.kill(pid, "SIGCONT");
    expect(ended()).toBe(endedBefore);
    await viewers.ready([id]);
    expect(taken().toSorted((a, b) => a - b)).toEqual([0, 1]);
    expect(ended()).toBe(endedBefore + 1);
  });
});
