import { createClient, type Client, type ConnectRouter, type Interceptor, type Transport } from "@connectrpc/connect";
import { createLocalTransport } from "@flick/platform/rpc/local-transport.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { serviceTokenHeader } from "@flick/proto/service-token.ts";

export const serviceNames = ["user", "video", "favorite", "comment", "relation", "message"] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface Clients {
  user: Client<typeof UserService>;
  video: Client<typeof VideoService>;
  favorite: Client<typeof FavoriteService>;
  comment: Client<typeof CommentService>;
  relation: Client<typeof RelationService>;
  message: Client<typeof MessageService>;
}

export interface ClientOptions {
  /** Services of this process: they are called in process, through the same interceptors. */
  local: readonly ServiceName[];
  routes: (router: ConnectRouter) => void;
  interceptors: Interceptor[];
  /** Where the others are. */
  urls: Record<ServiceName, string | undefined>;
  serviceToken: () => Promise<string>;
  timeoutMs: number;
}

/** A client for every service: in process for those that this process serves, gRPC-web for the others. */
export function createClients(options: ClientOptions): Clients {
  const { serviceToken, timeoutMs } = options;
  const local = createLateTransport(options);
  const transport = (name: ServiceName) => {
    if (options.local.includes(name)) return local;
    const baseUrl = options.urls[name];
    if (!baseUrl) throw new Error(`the ${name} service is not in this process and has no URL`);
    return createServiceTransport({ baseUrl, serviceToken, timeoutMs });
  };
  return {
    user: createClient(UserService, transport("user")),
    video: createClient(VideoService, transport("video")),
    favorite: createClient(FavoriteService, transport("favorite")),
    comment: createClient(CommentService, transport("comment")),
    relation: createClient(RelationService, transport("relation")),
    message: createClient(MessageService, transport("message")),
  };
}

/** Made at the first call: the services that it reaches are themselves made with the clients at hand. */
function createLateTransport({ routes, interceptors, serviceToken, timeoutMs }: ClientOptions): Transport {
  const addHeaders = async (header: Headers) => header.set(serviceTokenHeader, await serviceToken());
  let made: Transport | undefined;
  const transport = () => (made ??= createLocalTransport({ routes, interceptors, addHeaders, timeoutMs }));
  return {
    unary: (...call) => transport().unary(...call),
    stream: (...call) => transport().stream(...call),
  };
}
