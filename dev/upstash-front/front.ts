import { createHash, timingSafeEqual } from "node:crypto";

import type { Log } from "@flick/platform/log.ts";
import * as v from "valibot";

import { createScriptTranslator, refusal } from "./commands.ts";
import { createRedisLink, RedisAway } from "./redis-link.ts";
import { RedisError, Status, type Reply } from "./resp.ts";

export interface UpstashFrontOptions {
  redisUrl: string;
  /** 0 takes any free port. */
  port: number;
  hostname: string;
  /** What clients must send as their bearer token. */
  token: string;
  log: Log;
}

export interface UpstashFront {
  url: string;
  stop(): Promise<void>;
}

const bodyBytes = 1024 * 1024;
const mostCommands = 1_000;

/**
 * Serves a Redis the way Upstash serves one over HTTP, so that `@upstash/redis` works with a local server: `POST /` runs one
 * command, `POST /pipeline` several, `POST /multi-exec` several as a transaction, `GET /get/key` the command in its path.
 * Answers are `{"result": …}` or `{"error": "…"}`. The protocol: https://upstash.com/docs/redis/features/restapi
 *
 * Not there: server-sent events for SUBSCRIBE and MONITOR, and the token in the query string.
 */
export function createUpstashFront(options: UpstashFrontOptions): UpstashFront {
  const { log } = options;
  const redis = createRedisLink({ url: options.redisUrl, log });
  const scripts = createScriptTranslator();
  const expected = digest(`Bearer ${options.token}`);
  const server = Bun.serve({
    hostname: options.hostname,
    port: options.port,
    // Refused below, with a reason.
    maxRequestBodySize: 2 ** 31,
    routes: { "/healthz": health },
    fetch: async (request) => {
      try {
        return await answer(request);
      } catch (error) {
        return failure(error);
      }
    },
  });

  return {
    url: server.url.origin,
    async stop() {
      await server.stop();
      redis.close();
    },
  };

  async function answer(request: Request): Promise<Response> {
    if (!timingSafeEqual(digest(request.headers.get("authorization") ?? ""), expected)) {
      throw new Refused(401, "WRONGPASS invalid or missing auth token");
    }
    const base64 = request.headers.get("upstash-encoding")?.toLowerCase() === "base64";
    const { pathname } = new URL(request.url);
    if (request.method === "GET") {
      const command = pathname.slice(1).split("/").map(decode);
      if (command[0] === "") throw new Refused(400, "ERR empty command");
      return single(await run([command]), base64);
    }
    if (request.method !== "POST") throw new Refused(405, `ERR method ${request.method} is not allowed`);
    switch (pathname) {
      case "/":
        return single(await run([parse(commandSchema, await readBody(request))]), base64);
      case "/pipeline":
        return Response.json(
          (await run(parse(commandsSchema, await readBody(request)))).map((reply) => item(reply, base64)),
        );
      case "/multi-exec":
        return await transaction(parse(commandsSchema, await readBody(request)), base64);
      default:
        throw new Refused(404, `ERR there is nothing at POST ${pathname.slice(0, 100)}`);
    }
  }

  /** Refused commands do not reach Redis, the others do. */
  async function run(commands: readonly string[][]): Promise<Reply[]> {
    const refusals = commands.map(refusal);
    const sent = commands.filter((_command, i) => !refusals[i]);
    const replies = await redis.run(sent.map(scripts.translate));
    return commands.map((command, i) => refusals[i] ?? scripts.translateReply(command, replies.shift() ?? null));
  }

  async function transaction(commands: readonly string[][], base64: boolean): Promise<Response> {
    for (const command of commands) {
      const refused = refusal(command);
      if (refused) throw refused;
    }
    const replies = await redis.run([["MULTI"], ...commands.map(scripts.translate), ["EXEC"]]);
    const results = replies.at(-1) ?? null;
    if (!Array.isArray(results)) {
      const reason = replies.find((reply) => reply instanceof RedisError);
      throw reason ?? new RedisError("EXECABORT Transaction discarded");
    }
    const answers = results.map((reply, i) => item(scripts.translateReply(commands[i] ?? [], reply), base64));
    return Response.json(answers);
  }

  async function health(): Promise<Response> {
    try {
      await redis.run([["PING"]]);
      return Response.json({ status: "ok" });
    } catch (error) {
      return failure(error);
    }
  }

  function failure(error: unknown): Response {
    if (error instanceof RedisError) return Response.json({ error: error.message }, { status: 400 });
    if (error instanceof Refused) return Response.json({ error: error.message }, { status: error.status });
    if (error instanceof RedisAway) return Response.json({ error: `ERR ${error.message}` }, { status: 503 });
    log.error("a request failed", { error });
    return Response.json({ error: "ERR internal error" }, { status: 500 });
  }
}

/** A request that is answered with an error of our own. */
class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const argument = v.pipe(v.union([v.string(), v.number(), v.boolean()]), v.transform(String));
const commandSchema = v.pipe(v.array(argument), v.minLength(1, "a command has at least its name"));
const commandsSchema = v.pipe(
  v.array(v.unknown()),
  v.maxLength(mostCommands, `one request takes at most ${mostCommands} commands`),
  v.array(commandSchema),
);

function parse<T>(schema: v.GenericSchema<unknown, T>, body: string): T {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "the body is not JSON"), schema), body);
  if (parsed.success) return parsed.output;
  throw new Refused(400, `ERR failed to parse the request: ${parsed.issues[0].message}`);
}

async function readBody(request: Request): Promise<string> {
  const tooLarge = (size: string) =>
    new Refused(413, `ERR max request size exceeded. Limit: ${bodyBytes} bytes, Actual: ${size} bytes`);
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > bodyBytes) throw tooLarge(String(announced));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.length;
    if (size > bodyBytes) throw tooLarge("more");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refused(400, "ERR the path is not percent-encoded as it should be");
  }
}

function single([reply = null]: Reply[], base64: boolean): Response {
  return Response.json(item(reply, base64), { status: reply instanceof RedisError ? 400 : 200 });
}

function item(reply: Reply, base64: boolean): { result: unknown } | { error: string } {
  if (reply instanceof RedisError) return { error: reply.message };
  // Clients take this one word for itself, whatever the encoding.
  if (reply instanceof Status && reply.text === "OK") return { result: "OK" };
  return { result: plain(reply, base64) };
}

function plain(reply: Reply, base64: boolean): unknown {
  if (Array.isArray(reply)) return reply.map((element) => plain(element, base64));
  if (reply instanceof RedisError) return plain(new Status(reply.message), base64);
  if (reply instanceof Status) return base64 ? Buffer.from(reply.text).toString("base64") : reply.text;
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString(base64 ? "base64" : "utf8");
  return typeof reply === "bigint" ? Number(reply) : reply;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
