import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { within } from "@flick/platform/within.ts";

import { createPipe } from "./large-reads.ts";

/** Leave to store one file. */
export interface PutPermit {
  putUrl: string;
  contentType: string;
}

/**
 * Stores an object while its bytes come, as fast as the store takes them. It appears in one step with its last byte, or not at all.
 *
 * @param options.stallMs for the store to take a piece, and to answer when it has all.
 * @throws UNAVAILABLE when the store does not take it, and what the bytes or the signal fail with.
 */
export async function storeFile(
  { putUrl, contentType }: PutPermit,
  bytes: AsyncIterable<Uint8Array>,
  { signal, stallMs }: { signal: AbortSignal; stallMs: number },
): Promise<void> {
  const { readable, writable } = createPipe();
  const writer = writable.getWriter();
  const stop = new AbortController();
  const status = fetch(putUrl, {
    method: "PUT",
    body: readable,
    headers: { "content-type": contentType },
    redirect: "manual",
    signal: AbortSignal.any([signal, stop.signal]),
    ...halfDuplex,
  }).then(statusOf, () => 0);
  const gone = new Error("the store takes no more");
  // An answer before the end is none to a whole file.
  void status.then(() => writer.abort(gone)).catch(() => {});
  const taken = (step: Promise<void>) =>
    within(step, stallMs, () => gone).catch(() => {
      throw gone;
    });
  try {
    for await (const piece of bytes) await taken(writer.write(piece));
    await taken(writer.close());
    await within(status, stallMs, () => gone);
  } catch (error) {
    void writer.abort(error).catch(() => {});
    stop.abort(error);
    if (error !== gone) throw error;
  }
  const answered = await status;
  if (answered !== 200) throw refused(answered);
}

async function statusOf(response: Response): Promise<number> {
  await response.body?.cancel();
  return response.status;
}

/** Without the cause: what a runtime says of a failed request may hold its URL, and that a signature. */
function refused(status: number): Error {
  const problem = new Error(status === 0 ? "object storage: no answer" : `object storage: HTTP ${status}`);
  return flickError(Reason.UNAVAILABLE, "object storage cannot be reached at the moment: try again", problem);
}

/** Other runtimes than workerd ask for it with a streamed body, and workerd's types do not know it. */
const halfDuplex: object = { duplex: "half" };
