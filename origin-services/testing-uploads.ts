import { toJson, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import { createUploader, type Uploader } from "@flick/edge-gateway/upload.ts";
import { profileUpload, videoUpload } from "@flick/edge-gateway/upload-kinds.ts";
import { UpdateUserResponseSchema } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { PublishResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import type { Clients } from "./clients.ts";

export const videoPath = "/video";
export const profilePath = "/profile";

/**
 * The gateway's uploads in front of an origin, and nothing else of the gateway: their answers are messages in proto3 JSON, or errors in that of
 * Connect.
 */
export function serveUploads(
  clients: Pick<Clients, "video" | "user">,
  maxFileBytes: number,
): { url: string; stop(): Promise<void> } {
  const video = handle(createUploader(videoUpload(clients.video)), "title", maxFileBytes, PublishResponseSchema);
  const profile = handle(
    createUploader(profileUpload(clients.user)),
    "signature",
    maxFileBytes,
    UpdateUserResponseSchema,
  );
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    maxRequestBodySize: 2 ** 32 - 1,
    routes: { [videoPath]: video, [profilePath]: profile },
  });
  return { url: server.url.origin, stop: () => server.stop(true) };
}

function handle<Schema extends DescMessage>(
  upload: Uploader<MessageShape<Schema>>,
  text: string,
  maxFileBytes: number,
  schema: Schema,
): (request: Request) => Promise<Response> {
  return async ({ url, body, headers, signal }) => {
    const length = headers.get("content-length");
    try {
      const answer = await upload({
        body,
        contentType: headers.get("content-type") ?? "",
        contentLength: length === null ? undefined : Number(length),
        maxFileBytes,
        text: new URL(url).searchParams.get(text) ?? undefined,
        token: headers.get("authorization")?.replace("Bearer ", ""),
        bodyWins: false,
        requestId: "test",
        signal,
        inBackground() {},
      });
      return Response.json(toJson(schema, answer));
    } catch (error) {
      const known = ConnectError.from(error);
      return Response.json(errorToJson(known, undefined), { status: codeToHttpStatus(known.code) });
    }
  };
}
