import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { createApp } from "./app.ts";
import { readBindings } from "./env.ts";
import { consoleLog } from "./log.ts";
import { createOrigin } from "./origin.ts";

/** Made by an isolate's first request. It holds plain data only: no request may wait for another's I/O. */
let app: ReturnType<typeof createApp> | undefined;

/** The gateway as a Cloudflare Worker. */
export default {
  fetch(request, bindings, context) {
    if (!app) {
      const result = readBindings(bindings);
      if ("problems" in result) return badBindings(result.problems);
      const { ORIGIN_URL, MAX_UPLOAD_BYTES } = result.settings;
      app = createApp({ origin: createOrigin(ORIGIN_URL), log: consoleLog, maxUploadBytes: MAX_UPLOAD_BYTES });
    }
    return app.fetch(request, bindings, context);
  },
} satisfies ExportedHandler<Record<string, unknown>>;

/** Says what to mend to the person who deploys. Names of bindings are no secret; their values are not quoted. */
function badBindings(problems: string[]): Response {
  consoleLog.error("bad bindings", { problems });
  const message = `The gateway's bindings are not right: ${problems.join("; ")}.`;
  return Response.json({ status_code: Reason.INTERNAL, status_msg: message }, { status: 500 });
}
