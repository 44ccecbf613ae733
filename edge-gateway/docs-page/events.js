/**
 * Reads server-sent events from a response as they come, until it ends. `EventSource` could not send the token as a header.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {(event: { id: string, data: string }) => void} onEvent
 */
export async function readEvents(body, onEvent) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = fieldOf(block, "data");
      // A block without data is a comment that keeps the connection open.
      if (data) onEvent({ id: fieldOf(block, "id"), data });
    }
  }
}

/**
 * @param {string} block
 * @param {string} name
 */
function fieldOf(block, name) {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith(`${name}:`));
  return lines.map((line) => line.slice(name.length + 1).replace(/^ /, "")).join("\n");
}
