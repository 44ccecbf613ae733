import { ApiError, type ApiClient } from "@flick/dev/api-client.ts";

export interface Person {
  user_id: number;
  token: string;
}

/** People who read and write without end, one call after the other. */
export interface Load {
  failedReads: string[];
  failedWrites: string[];
  /** What has been acknowledged: comments by video, and who likes a video, as `<user> <video>`. */
  comments: Map<number, number>;
  likes: Set<string>;
  /** Acknowledged writes so far. */
  writes(): number;
  /** Resolves when every client has made so many more calls. */
  goOn(calls: number): Promise<void>;
  stop(): Promise<void>;
}

const pauseMs = 10;
const goOnWithinMs = 60_000;

/**
 * Starts one reader and one writer for each person.
 *
 * @param call makes a call through some gateway.
 */
export function startLoad(options: {
  call: <T>(work: (api: ApiClient) => Promise<T>) => Promise<T>;
  people: readonly Person[];
  videos: readonly number[];
}): Load {
  const { call, people, videos } = options;
  const stopping = new AbortController();
  const failedReads: string[] = [];
  const failedWrites: string[] = [];
  const comments = new Map(videos.map((video) => [video, 0]));
  const likes = new Set<string>();
  const done: number[] = [];
  let writes = 0;

  const repeat = async (turn: (at: number) => Promise<unknown>, failures: string[]) => {
    const client = done.push(0) - 1;
    for (let at = 0; !stopping.signal.aborted; at++) {
      await turn(at).catch((error: unknown) => {
        failures.push(error instanceof ApiError ? `${error.httpStatus} ${error.message}` : String(error));
      });
      done[client] = at + 1;
      await Bun.sleep(pauseMs);
    }
  };
  const of = <T>(all: readonly T[], at: number) => all[at % all.length] as T;

  const read =
    ({ token }: Person) =>
    (at: number) => {
      const reads = [
        (api: ApiClient) => api.friendList(token),
        (api: ApiClient) => api.commentList(of(videos, at), { token }),
        (api: ApiClient) => api.user(token, of(people, at).user_id),
        (api: ApiClient) => api.favoriteList(token),
        (api: ApiClient) => api.feed({ token }),
      ];
      return call<unknown>(of(reads, at));
    };
  const write = (person: Person) => async (at: number) => {
    const { token, user_id: me } = person;
    const video = of(videos, Math.floor(at / 3));
    if (at % 3 === 0) {
      const likesIt = likes.has(`${me} ${video}`);
      await call((api) => api.favorite(token, video, likesIt ? 2 : 1));
      if (likesIt) likes.delete(`${me} ${video}`);
      else likes.add(`${me} ${video}`);
    } else if (at % 3 === 1) {
      await call((api) => api.comment(token, video, `number ${at}`));
      comments.set(video, (comments.get(video) ?? 0) + 1);
    } else {
      await call((api) => api.follow(token, of(people, people.indexOf(person) + 1).user_id, at % 2 ? 1 : 2));
    }
    writes++;
  };
  const clients = Promise.all(
    people.flatMap((person) => [repeat(read(person), failedReads), repeat(write(person), failedWrites)]),
  );
  return {
    failedReads,
    failedWrites,
    comments,
    likes,
    writes: () => writes,
    async goOn(calls) {
      const goal = done.map((count) => count + calls);
      const deadline = performance.now() + goOnWithinMs;
      while (!goal.every((count, client) => (done[client] ?? 0) >= count)) {
        if (performance.now() > deadline) throw new Error(`the load did not go on within ${goOnWithinMs} ms`);
        await Bun.sleep(20);
      }
    },
    async stop() {
      stopping.abort();
      await clients;
    },
  };
}
