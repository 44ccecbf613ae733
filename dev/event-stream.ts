export interface StreamedEvent {
  id: string;
  data: string;
}

export interface EventStream {
  /** All that have come so far. */
  events: StreamedEvent[];
  /** What the server has said in comments. */
  comments: string[];
  /** Resolves when either side has ended it. */
  ended: Promise<void>;
  close(): Promise<void>;
}

/**
 * Listens to server-sent events, as a browser does but without coming back by itself; resolves when the first of them, or a comment,
 * is there.
 *
 * @throws when the answer is no stream of events.
 */
export async function openEventStream(url: string | URL, headers: Record<string, string> = {}): Promise<EventStream> {
  const abort = new AbortController();
  const response = await fetch(url, { headers, signal: abort.signal, keepalive: false });
  const type = response.headers.get("content-type") ?? "";
  if (!response.body || response.status !== 200 || !type.startsWith("text/event-stream")) {
    throw new Error(`no stream of events but HTTP ${response.status}: ${await response.text()}`);
  }
  const blocks = response.body.pipeThrough(new TextDecoderStream());
  const first = Promise.withResolvers<void>();
  const stream: EventStream = {
    events: [],
    comments: [],
    ended: read(),
    async close() {
      abort.abort();
      await stream.ended;
    },
  };
  await Promise.race([first.promise, stream.ended]);
  return stream;

  async function read(): Promise<void> {
    let text = "";
    try {
      for await (const chunk of blocks) {
        const complete = (text + chunk).split("\n\n");
        text = complete.pop() ?? "";
        complete.forEach(take);
        if (complete.length > 0) first.resolve();
      }
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
  }

  function take(block: string): void {
    const event: StreamedEvent = { id: "", data: "" };
    for (const line of block.split("\n")) {
      const [, name = "", value = ""] = /^(\w*): ?(.*)$/s.exec(line) ?? [];
      if (name === "") stream.comments.push(value);
      if (name === "id" || name === "data") event[name] = value;
    }
    if (event.data) stream.events.push(event);
  }
}
