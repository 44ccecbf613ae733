import { drainingHeader, instancesKey, serviceOfPath, type Announcement } from "@flick/proto/instances.ts";
import { RedisClient } from "bun";

/**
 * One address for the calls between our own programs, as an orchestrator gives one: whoever has announced that it serves what a call is for
 * gets it, each in turn. A call that an origin has not begun with goes to the next.
 */
export function startServiceAddress(redisUrl: string): { url: string; stop(): Promise<void> } {
  const redis = new RedisClient(redisUrl);
  let instances: { url: string; services: readonly string[] }[] = [];
  let turn = 0;
  const read = async () => {
    const announced = Object.entries(await redis.hgetall(instancesKey));
    instances = announced.map(([url, value]) => {
      const { services } = JSON.parse(value.slice(value.indexOf("{"))) as Announcement;
      return { url, services };
    });
  };
  const reading = setInterval(() => void read().catch(() => {}), 200);
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 60, fetch: pass });
  return {
    url: server.url.origin,
    async stop() {
      clearInterval(reading);
      await server.stop(true);
      redis.close();
    },
  };

  async function pass(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const able = instances.filter(({ services }) => services.includes(serviceOfPath(pathname)));
    const body = await request.arrayBuffer();
    const { method, headers, signal } = request;
    for (let tries = 0; tries < able.length; tries++) {
      const { url } = able[turn++ % able.length] as (typeof able)[number];
      const answer = await fetch(`${url}${pathname}`, { method, headers, body, signal }).catch(isRefusal);
      if (answer && !answer.headers.has(drainingHeader)) return answer;
    }
    return new Response("nobody serves this\n", { status: 503 });
  }
}

/** Nothing was sent: the call may be made elsewhere. */
function isRefusal(error: unknown): null {
  if (error instanceof Error && "code" in error && error.code === "ConnectionRefused") return null;
  throw error;
}
