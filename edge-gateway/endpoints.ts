import type { Endpoint } from "./endpoint.ts";
import { commentEndpoints } from "./routes/comment.ts";
import { favoriteEndpoints } from "./routes/favorite.ts";
import { healthEndpoints } from "./routes/health.ts";
import { messageEndpoints } from "./routes/message.ts";
import { relationEndpoints } from "./routes/relation.ts";
import { userEndpoints } from "./routes/user.ts";
import { videoEndpoints } from "./routes/video.ts";

/** The public API. */
export const endpoints: readonly Endpoint[] = [
  ...userEndpoints,
  ...videoEndpoints,
  ...favoriteEndpoints,
  ...commentEndpoints,
  ...relationEndpoints,
  ...messageEndpoints,
  ...healthEndpoints,
];
