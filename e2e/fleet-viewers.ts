import { join } from "node:path";

import type { ApiVideo } from "@flick/dev/api-client.ts";

import type { Fleet } from "./fleet.ts";
import type { Load, Person } from "./load.ts";
import { ffmpeg } from "./running-stack.ts";

/** People with accounts on a fleet, and what they publish. */
export interface Viewers {
  people: Person[];
  /** Publishes a clip of a second, by each of the people in their turn. */
  publish(clip?: Blob): Promise<number>;
  /** Waits until all of them are ready, and gives them as they are shown. */
  ready(ids: readonly number[]): Promise<ApiVideo[]>;
  /** Counts shown that are not those of the writes that a load has had acknowledged; there must be no other writes. */
  wrongCounts(load: Load): Promise<string[]>;
}

const readyWithinMs = 90_000;

/** @param count people to sign up. */
export async function signUpViewers(fleet: Fleet, count: number): Promise<Viewers> {
  const path = join(fleet.dir, "clip.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x284:rate=10", "-t", "1", "-pix_fmt", "yuv420p", path);
  const people = await Promise.all(
    Array.from({ length: count }, (_, at) => fleet.call((api) => api.register(`viewer ${at}`, "a good password"))),
  );
  let published = 0;

  async function shown(ids: readonly number[]): Promise<ApiVideo[]> {
    const lists = await Promise.all(people.map(({ token }) => fleet.call((api) => api.publishList(token))));
    return lists.flatMap((list) => list.video_list).filter(({ id }) => ids.includes(id));
  }

  return {
    people,
    async publish(clip = Bun.file(path)) {
      const { token } = people[published++ % people.length] as Person;
      const { video_id: id } = await fleet.call((api) => api.publish(token, "a clip", clip));
      return id;
    },
    async ready(ids) {
      const deadline = Date.now() + readyWithinMs;
      for (;;) {
        const videos = await shown(ids);
        if (videos.length === ids.length && videos.every(({ status }) => status === "ready")) return videos;
        if (Date.now() > deadline) {
          const states = videos.map(({ id, status }) => `${id} ${status}`);
          throw new Error(`not all ${ids.length} are ready after ${readyWithinMs} ms: ${states.join(", ")}`);
        }
        await Bun.sleep(200);
      }
    },
    async wrongCounts({ comments, likes }) {
      const videos = await shown([...comments.keys()]);
      return [...comments].flatMap(([id, number]) => {
        const fans = [...likes].filter((like) => like.endsWith(` ${id}`)).length;
        const video = videos.find((each) => each.id === id);
        const says = `${video?.comment_count} comments, ${video?.favorite_count} likes`;
        const should = `${number} comments, ${fans} likes`;
        return says === should ? [] : [`video ${id}: ${says}, and should have ${should}`];
      });
    },
  };
}
