/**
 * Bytes of a stream in pieces as large as can be had: in workerd every step of a script costs some 60 µs beside the bytes, and a body that
 * is read like any other comes in 4 KiB. Where the runtime has no such reads, they come as they come.
 */
export interface ByteSource {
  /**
   * What is left of the bytes before, and more behind it, in one array, which is good until the next call; null at the end.
   *
   * @throws what the stream fails with.
   */
  more(rest: Uint8Array): Promise<Uint8Array | null>;
  /** Takes no more; a call of `more` at work ends. */
  cancel(): void;
}

/** @param largest of a piece; as much again is held by the runtime. */
export function openBytes(body: ReadableStream<Uint8Array>, largest: number): ByteSource {
  const byob = workerdReader(body);
  return byob ? readLarge(byob, largest) : readAsItComes(body.getReader());
}

/** A way for bytes to a request's body: a write ends when they may be overwritten, in the runtimes where {@link openBytes} does that. */
export function createPipe(): { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> } {
  const { IdentityTransformStream: Identity } = globalThis as { IdentityTransformStream?: typeof TransformStream };
  return Identity ? new Identity<Uint8Array, Uint8Array>() : new TransformStream<Uint8Array, Uint8Array>();
}

/** Without a large piece to come, there is no need of room for one. */
const firstBytes = 64 * 1024;
/** Who sends less than that at once, or takes longer for a piece, is not kept waiting until a large one is there. */
const muchBytes = 16 * 1024;
const patienceMs = 100;

function readLarge(reader: WorkerdReader, largest: number): ByteSource {
  let buffer = new ArrayBuffer(Math.min(firstBytes, largest));
  let least = 1;

  return {
    async more(rest) {
      const from = buffer.byteLength < largest && least > 1 ? new ArrayBuffer(largest) : buffer;
      // The runtime takes the memory away, and `rest`, which is in it, is empty then.
      const kept = rest.length;
      new Uint8Array(from).set(rest);
      const room = new Uint8Array(from, kept);
      const asked = Date.now();
      const { value } = await reader.readAtLeast(Math.min(least, room.length), room);
      if (!value || value.length === 0) return null;
      buffer = value.buffer;
      const isFast = value.length >= muchBytes && Date.now() - asked < patienceMs;
      least = isFast ? Math.min(Math.max(least * 4, value.length), largest) : 1;
      return new Uint8Array(buffer, 0, kept + value.length);
    },
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

function readAsItComes(reader: PlainReader): ByteSource {
  return {
    async more(rest) {
      const { value } = await reader.read();
      if (!value || rest.length === 0) return value ?? null;
      const all = new Uint8Array(rest.length + value.length);
      all.set(rest);
      all.set(value, rest.length);
      return all;
    },
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

interface PlainReader {
  read(): Promise<{ value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** Takes the array from its owner, and gives another over the same memory back. */
interface WorkerdReader {
  readAtLeast(least: number, into: Uint8Array): Promise<{ value?: Uint8Array<ArrayBuffer> }>;
  cancel(): Promise<void>;
  releaseLock(): void;
}

function workerdReader(body: ReadableStream<Uint8Array>): WorkerdReader | null {
  if (!("IdentityTransformStream" in globalThis)) return null;
  try {
    return body.getReader({ mode: "byob" }) as unknown as WorkerdReader;
  } catch {
    // A stream that a script made.
    return null;
  }
}
