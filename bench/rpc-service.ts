import { createContextKey, type ConnectRouter, type Interceptor } from "@connectrpc/connect";
import { createDeadlineInterceptor, createErrorInterceptor } from "@flick/origin-services/interceptors.ts";
import type { Log } from "@flick/platform/log.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

const viewerKey = createContextKey(0);

/** Those of an origin, but that the caller is believed: verifying tokens is not what is measured. */
export function benchInterceptors(log: Log): Interceptor[] {
  const identify: Interceptor = (next) => async (request) => {
    request.contextValues.set(viewerKey, request.header.get("authorization")?.length ?? 0);
    return next(request);
  };
  return [createErrorInterceptor(log), identify, createDeadlineInterceptor()];
}

/** A like, with nothing behind it, and a batch of users. */
export function benchRoutes(router: ConnectRouter): void {
  router.service(FavoriteService, { setFavorite: () => Promise.resolve({}) });
  router.service(UserService, {
    batchGetUsers: ({ userIds }) =>
      Promise.resolve({ users: userIds.map((id) => ({ id, name: `user ${id}`, followCount: 3n, followerCount: 4n })) }),
  });
}
