import { createHash, timingSafeEqual } from "node:crypto";

import type { Log } from "@flick/platform/log.ts";

import { checkAvailable } from "./available-commands.ts";
import { RequestError } from "./errors.ts";
import { readBody, readCommand, readCommands, readPathCommand } from "./read-commands.ts";
import { createRedisConnection, RedisUnavailable } from "./redis-connection.ts";
import { errorJson, outcomeJson } from "./reply-json.ts";
import { ReplyError, type Command, type Reply } from "./resp2.ts";
import { createScriptAliases, type Translation } from "./script-aliases.ts";

export interface UpstashFrontOptions {
  /** `redis://` or `rediss://`, with password and database where needed. */
  redisUrl: string;
  /** 0 takes a free one. */
  port: number;
  /** Default 127.0.0.1. */
  hostname?: string;
  /** What callers show as their bearer token. */
  token: string;
  log: Log;
}

export interface UpstashFront {
  /** For `new Redis({ url, token })` of @upstash/redis. */
  url: string;
  /** Takes no more requests, lets those at work end within 5 s, and closes the connection to Redis. */
  stop(): Promise<void>;
}

const drainMs = 5000;
const maxRequestsAtOnce = 1000;

/**
 * Upstash's REST API before any Redis, for the local stack and for tests: single commands in the body or the path, pipelines,
 * transactions, with Upstash's errors. Without streaming (SUBSCRIBE, MONITOR), read-only tokens and RESP2 responses.
 * The API: https://upstash.com/docs/redis/features/restapi
 *
 * @throws when the port is taken.
 */
export function createUpstashFront(options: UpstashFrontOptions): UpstashFront {
  const { redisUrl, port, hostname = "127.0.0.1", token, log } = options;
  const redis = createRedisConnection({ url: redisUrl, log });
  const translate = createScriptAliases();
  const expectedToken = sha256(token);
  let requests = 0;

  async function answer(request: Request): Promise<string> {
    const url = new URL(request.url);
    if (!methods.has(request.method)) throw new RequestError(405, "ERR method not allowed");
    if (!timingSafeEqual(sha256(shownToken(request, url)), expectedToken)) throw new RequestError(401, "Unauthorized");
    const format = request.headers.get("upstash-response-format") ?? "json";
    if (format !== "json") throw new RequestError(400, "ERR the only response format of this server is json");
    const inBase64 = request.headers.get("upstash-encoding") === "base64";

    const body = await readBody(request);
    if (url.pathname === "/pipeline") return runPipeline(readCommands(body), inBase64);
    if (url.pathname === "/multi-exec") return runTransaction(readCommands(body), inBase64);
    const command = url.pathname === "/" ? readCommand(body) : readPathCommand(url, body);
    return runCommand(command, inBase64);
  }

  async function runCommand(command: Command, inBase64: boolean): Promise<string> {
    const prepared = prepare(command);
    const [reply = null] = await redis.send([prepared.command]);
    if (reply instanceof ReplyError) throw new RequestError(400, reply.message);
    return outcomeJson(prepared.answer(reply), inBase64);
  }

  /** A command that is refused leaves the others alone. */
  async function runPipeline(commands: readonly Command[], inBase64: boolean): Promise<string> {
    const prepared = commands.map((command) => {
      try {
        return prepare(command);
      } catch (error) {
        if (error instanceof RequestError) return error;
        throw error;
      }
    });
    const sent = prepared.flatMap((item) => (item instanceof RequestError ? [] : [item.command]));
    const replies = sent.length > 0 ? await redis.send(sent) : [];
    let next = 0;
    const outcomes = prepared.map((item) =>
      item instanceof RequestError ? errorJson(item.message) : outcome(item, replies[next++], inBase64),
    );
    return `[${outcomes.join(",")}]`;
  }

  /** A command that is refused discards them all. */
  async function runTransaction(commands: readonly Command[], inBase64: boolean): Promise<string> {
    const prepared = commands.map(prepare);
    const replies = await redis.send([["MULTI"], ...prepared.map(({ command }) => command), ["EXEC"]]);
    const results = replies.at(-1);
    if (!Array.isArray(results)) {
      const cause = replies.find((reply) => reply instanceof ReplyError);
      throw new RequestError(400, `EXECABORT Transaction discarded because of: ${cause?.message ?? "no reason given"}`);
    }
    return `[${prepared.map((item, index) => outcome(item, results[index], inBase64)).join(",")}]`;
  }

  function prepare(command: Command): Translation {
    checkAvailable(command);
    return translate(command);
  }

  async function handle(request: Request): Promise<Response> {
    if (request.method === "GET" && new URL(request.url).pathname === "/healthz") return new Response("ok\n");
    requests++;
    try {
      if (requests > maxRequestsAtOnce) {
        throw new RequestError(503, `ERR more than ${maxRequestsAtOnce} requests at once`);
      }
      return respond(200, await answer(request));
    } catch (error) {
      return refuse(error, request);
    } finally {
      requests--;
    }
  }

  function refuse(error: unknown, request: Request): Response {
    const response = describe(error, request);
    // What is left of a body is not read.
    const isRead = request.body === null || (request.bodyUsed && response.status !== 413);
    if (!isRead) response.headers.set("connection", "close");
    return response;
  }

  function describe(error: unknown, request: Request): Response {
    if (error instanceof RequestError) return respond(error.status, errorJson(error.message));
    if (error instanceof RedisUnavailable) return respond(503, errorJson(`ERR ${error.message}`));
    // Nobody hears the answer to a request that was aborted, and its failure is not ours.
    if (!request.signal.aborted) log.error("request failed", { error });
    return respond(500, errorJson("ERR internal error"));
  }

  const server = Bun.serve({
    port,
    hostname,
    fetch: handle,
    idleTimeout: 30,
    // readBody has the limit: Bun's own would answer without a body.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  });
  let stopped: Promise<void> | undefined;
  return {
    url: `http://${hostname === "0.0.0.0" ? "127.0.0.1" : hostname}:${server.port}`,
    stop: () => (stopped ??= stop()),
  };

  async function stop(): Promise<void> {
    const cut = setTimeout(() => void server.stop(true), drainMs);
    await server.stop();
    clearTimeout(cut);
    await server.stop(true);
    redis.close();
  }
}

const methods = new Set(["HEAD", "GET", "POST", "PUT"]);

function shownToken(request: Request, url: URL): string {
  const [, bearer] = /^Bearer +(.*)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  return bearer ?? url.searchParams.get("_token") ?? "";
}

/** Of equal length whatever the text, as a comparison in constant time needs it. */
function sha256(value: string): Buffer {
  return createHash("sha256").update(value).digest();
}

function outcome(item: Translation, reply: Reply | undefined, inBase64: boolean): string {
  const given = reply ?? null;
  return outcomeJson(given instanceof ReplyError ? given : item.answer(given), inBase64);
}

function respond(status: number, json: string): Response {
  return new Response(json, { status, headers: { "content-type": "application/json" } });
}
