import type { Endpoint } from "./endpoint.ts";
import { commentEndpoints } from "./routes/comment.ts";
import { favoriteEndpoints } from "./routes/favorite.ts";
import { healthEndpoints } from "./routes/health.ts";
import { messageEndpoints } from "./routes/message.ts";
import { publishingEndpoints } from "./routes/publishing.ts";
import { relationEndpoints } from "./routes/relation.ts";
import { uploadEndpoints } from "./routes/upload.ts";
import { userEndpoints } from "./routes/user.ts";
import { videoEndpoints } from "./routes/video.ts";

/** The public API. */
export const endpoints: readonly Endpoint[] = [
  ...userEndpoints,
  ...videoEndpoints,
  ...publishingEndpoints,
  ...uploadEndpoints,
  ...favoriteEndpoints,
  ...commentEndpoints,
  ...relationEndpoints,
  ...messageEndpoints,
  ...healthEndpoints,
];
