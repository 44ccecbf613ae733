import type { Measured } from "./load.ts";

/** A request to repeat, and how. */
export interface HttpLoad {
  url: string;
  method?: "GET" | "POST";
  headers?: Record<string, string>;
  body?: Uint8Array;
  connections: number;
  seconds: number;
}

const warmUpMs = 300;
const headEnd = Buffer.from("\r\n\r\n");

/**
 * Repeats one request over connections that stay open, each with one request at a time. It knows just enough of HTTP for servers that
 * say how long their answers are or send them in chunks, because it shares the machine with what it measures.
 *
 * @throws when an answer has another status than 200, or a connection breaks.
 */
export async function measureHttp(load: HttpLoad): Promise<Measured> {
  const { connections, seconds } = load;
  const bytes = encodeRequest(load);
  const counted = performance.now() + warmUpMs;
  const end = counted + seconds * 1000;
  const times: number[] = [];
  const run = async () => {
    const connection = await openConnection(load.url);
    try {
      for (;;) {
        const from = performance.now();
        if (from >= end) return;
        await connection.exchange(bytes);
        const to = performance.now();
        if (to >= counted && to < end) times.push(to - from);
      }
    } finally {
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: connections }, run));
  times.sort((one, other) => one - other);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? Number.NaN;
  return { rate: times.length / seconds, p50: at(0.5), p99: at(0.99) };
}

function encodeRequest({ url, method = "GET", headers = {}, body }: HttpLoad): Buffer {
  const { host, pathname, search } = new URL(url);
  const lines = [`${method} ${pathname}${search} HTTP/1.1`, `host: ${host}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  if (body) lines.push(`content-length: ${body.byteLength}`);
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body ?? new Uint8Array()]);
}

async function openConnection(url: string) {
  const { hostname, port } = new URL(url);
  let answered = Promise.withResolvers<void>();
  let received: Buffer[] = [];
  let missing = 0;
  const fail = (why: string) => answered.reject(new Error(`${url}: ${why}`));

  function take(data: Buffer): void {
    if (missing > 0) {
      missing -= data.byteLength;
      if (missing === 0) answered.resolve();
      return;
    }
    received.push(data);
    const whole = received.length === 1 ? data : Buffer.concat(received);
    const headLength = whole.indexOf(headEnd);
    if (headLength < 0) return;
    const head = whole.toString("latin1", 0, headLength).toLowerCase();
    if (!head.startsWith("http/1.1 200")) return fail(head.slice(0, 200));
    const length = /content-length: (\d+)/.exec(head)?.[1];
    if (length === undefined) {
      // In chunks: the last one is empty, and nothing else ends so.
      if (
        whole.subarray(-7).toString("latin1").endsWith("\r\n0\r\n\r\n") ||
        whole.subarray(headLength + 4).toString("latin1") === "0\r\n\r\n"
      )
        done();
      return;
    }
    missing = headLength + headEnd.byteLength + Number(length) - whole.byteLength;
    received = [];
    if (missing === 0) answered.resolve();
  }

  function done(): void {
    received = [];
    answered.resolve();
  }

  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data: (_socket, data) => take(data),
      close: () => fail("the connection was closed"),
      error: (_socket, error) => fail(error.message),
    },
  });
  socket.setNoDelay(true);
  return {
    exchange(bytes: Buffer): Promise<void> {
      answered = Promise.withResolvers<void>();
      socket.write(bytes);
      return answered.promise;
    },
    close() {
      answered.promise.catch(() => {});
      socket.end();
    },
  };
}
