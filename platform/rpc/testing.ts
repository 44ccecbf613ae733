import type { ConnectRouter, Interceptor, ServiceImpl } from "@connectrpc/connect";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { createRpcHandlers } from "./rpc-handlers.ts";
import type { FetchHandler } from "./unary-handler.ts";

/** What a test's services do: what it leaves out is UNIMPLEMENTED. */
export type Answers = Partial<ServiceImpl<typeof UserService> & ServiceImpl<typeof FavoriteService>>;

export const maxMessageBytes = 1_000;
export const maxCallMs = 2_000;

export interface TestServices {
  routes: (router: ConnectRouter) => void;
  interceptors: Interceptor[];
  /** Replaces every answer. */
  answer(answers: Answers): void;
}

/** Services that answer what a test tells them to, each call anew. */
export function createTestServices(interceptors: Interceptor[] = []): TestServices {
  let answers: Answers = {};
  const late = <S extends typeof UserService | typeof FavoriteService>(service: S): ServiceImpl<S> =>
    new Proxy({} as ServiceImpl<S>, {
      get: (_target, name) => (request: never, context: never) => {
        const implementation = answers[name as keyof Answers];
        if (!implementation) throw new Error(`this test has no answer for ${service.typeName}/${String(name)}`);
        return implementation(request, context);
      },
    });
  return {
    routes: (router) => router.service(UserService, late(UserService)).service(FavoriteService, late(FavoriteService)),
    interceptors,
    answer: (next) => void (answers = next),
  };
}

export interface TestServer {
  url: string;
  stop(): Promise<void>;
}

export function serveHandlers(handlers: Map<string, FetchHandler>): TestServer {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    maxRequestBodySize: 2 ** 32 - 1,
    fetch: (request) =>
      handlers.get(new URL(request.url).pathname)?.(request) ?? new Response("no such path", { status: 404 }),
  });
  return { url: server.url.origin, stop: () => server.stop(true) };
}

/** The services behind our handlers; `faults` are those that only a log would see. */
export function serveServices(services: TestServices): TestServer & { faults: unknown[] } {
  const faults: unknown[] = [];
  const handlers = createRpcHandlers({
    ...services,
    maxMessageBytes,
    maxCallMs,
    onFault: (fault, method) => faults.push([method, fault]),
  });
  return { ...serveHandlers(handlers), faults };
}

/** Resolves when the condition holds. */
export async function until(condition: () => boolean, withinMs = 5_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(5);
  }
}
