/** Makes the likes that `bench/rpc.ts` counts in workerd: `POST /connect` by Connect's transport, `POST /own` by ours. */
import { createClient, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { createUnaryTransport } from "@flick/platform/rpc/unary-transport.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";

/** The end of a call that went well, which is what the load looks for. */
const callSucceeded = "grpc-status: 0\r\n";

export default {
  async fetch(request: Request, { ORIGIN_URL: baseUrl }: { ORIGIN_URL: string }): Promise<Response> {
    const headers = { authorization: request.headers.get("authorization") ?? "", "x-request-id": "bench" };
    const transport: Transport = request.url.endsWith("/own")
      ? createUnaryTransport({ baseUrl, timeoutMs: 5_000, maxAnswerBytes: 1024 * 1024 })
      : createGrpcWebTransport({
          baseUrl,
          defaultTimeoutMs: 5_000,
          fetch: ((url, init) => fetch(url, { ...init, redirect: "manual" })) as typeof fetch,
        });
    const client = createClient(FavoriteService, transport);
    await client.setFavorite({ videoId: 123_456_789n, favorite: true }, { headers, signal: request.signal });
    return new Response(callSucceeded);
  },
};
