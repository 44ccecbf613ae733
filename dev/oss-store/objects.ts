import { createHash, randomUUID } from "node:crypto";
import { closeSync, fsync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { type IndexedObject, openObjectIndex } from "./object-index.ts";
import type { Part, Upload, UploadIndex } from "./upload-index.ts";

/**
 * The objects of one bucket on disk: `files/<random id>` holds the bytes of an object, `index.sqlite` says which object they
 * are. A file is written and flushed before one transaction of the index names it, and never changes afterwards. So an object
 * appears whole or not at all, its description always fits its bytes, the later of two writers wins, and no key is ever part
 * of a path. Files that the index does not name are what a crash left behind; they are removed at the next start.
 */
export interface Objects {
  /**
   * Stores bytes under the key, in place of what was there. When the bytes end with an error, nothing is stored.
   * @param check sees what was written before anybody else does; when it throws, nothing is stored.
   */
  put(key: string, description: Description, bytes: Bytes, check: (written: Written) => void): Promise<StoredObject>;
  find(key: string): StoredObject | null;
  remove(key: string): void;
  uploads: UploadIndex;
  /** As {@link put}, a part of an upload. The upload may have ended meanwhile: null then, and nothing is stored. */
  putPart(uploadId: string, number: number, bytes: Bytes, check: (written: Written) => void): Promise<Part | null>;
  /** Makes an object of parts of an upload, in their order, without touching their bytes. */
  complete(upload: Upload, parts: readonly Part[], etag: string): StoredObject;
  /** The same object in one file, put together when it is first asked for. */
  merge(object: StoredObject): Promise<StoredObject>;
  /** Ends an upload without an object. */
  abort(uploadId: string): void;
  /** Up to `limit` objects with the prefix and after the key `after`, in the order of their keys' UTF-8 bytes. */
  list(prefix: string, after: string, limit: number): StoredObject[];
  /** Waits for puts at work (end their connections first), then gives the folder free. */
  close(): Promise<void>;
}

export type Bytes = AsyncIterable<Uint8Array>;

export interface Written {
  size: number;
  md5: Buffer;
}

export type Acl = "default" | "private" | "public-read";

export interface Description {
  acl: Acl;
  /** Response headers kept with the object, by their names in lower case. */
  headers: Record<string, string>;
}

export interface StoredObject extends Description {
  key: string;
  size: number;
  /** As in {@link IndexedObject}. */
  etag: string;
  /** The first `size` bytes of each of these files, one after the other, are the object's. */
  segments: { path: string; size: number }[];
  /** Milliseconds since 1970. */
  modifiedAt: number;
}

/** A replaced file stays for so long, for answers that are about to open it. */
const retireAfterMs = 10_000;

const flush = promisify(fsync);

/** @throws when another store works on the folder. */
export function openObjects(dataDir: string): Objects {
  const folder = join(dataDir, "files");
  mkdirSync(folder, { recursive: true });
  const index = openObjectIndex(join(dataDir, "index.sqlite"));
  removeStrays(folder, index.files());
  const folderDescriptor = openSync(folder, "r");
  const writers = new Set<Promise<unknown>>();
  const merges = new Map<string, Promise<StoredObject>>();
  const retired = new Map<string, Timer>();

  /** Writes and flushes a file of its own; `name` makes it part of the index, whose trailer it gives, or throws. */
  async function write<T>(
    bytes: Bytes,
    describe: (file: string, written: Written) => object,
    name: () => T,
  ): Promise<T> {
    const file = randomUUID();
    const path = join(folder, file);
    const hash = createHash("md5");
    let size = 0;
    const handle = await open(path, "wx");
    try {
      for await (const chunk of bytes) {
        hash.update(chunk);
        size += chunk.length;
        writeFully(handle.fd, chunk);
      }
      writeFully(handle.fd, trailer(describe(file, { size, md5: hash.digest() })));
      await handle.sync();
      await flush(folderDescriptor);
      return name();
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
  }

  function mergeSegments(object: StoredObject): Promise<StoredObject> {
    const { segments, ...description } = object;
    let merged: IndexedObject;
    const describe = (file: string, { size }: Written) =>
      (merged = { ...description, size, segments: [{ file, size }] });
    const name = () => {
      const now = index.get(object.key);
      const unchanged = now?.etag === object.etag && now.modifiedAt === object.modifiedAt;
      // Replaced or deleted meanwhile: whoever asked before that may still read it.
      retire(unchanged ? index.set(merged) : merged.segments.map(({ file }) => file));
      return locate(merged);
    };
    return write(oneAfterTheOther(segments), describe, name);
  }

  /** Whoever closes the store waits for it. */
  async function watched<T>(writer: Promise<T>): Promise<T> {
    writers.add(writer);
    try {
      return await writer;
    } finally {
      writers.delete(writer);
    }
  }

  function retire(files: readonly string[]): void {
    for (const file of files) {
      const remove = () => {
        retired.delete(file);
        rmSync(join(folder, file), { force: true });
      };
      retired.set(file, setTimeout(remove, retireAfterMs).unref());
    }
  }

  const locate = ({ segments, ...rest }: IndexedObject): StoredObject => ({
    ...rest,
    segments: segments.map(({ file, size }) => ({ path: join(folder, file), size })),
  });

  return {
    uploads: index.uploads,
    put(key, description, bytes, check) {
      let object: IndexedObject;
      const describe = (file: string, written: Written) => {
        check(written);
        const { size, md5 } = written;
        const segments = [{ file, size }];
        return (object = { key, segments, size, etag: digest(md5), modifiedAt: Date.now(), ...description });
      };
      const name = () => {
        retire(index.set(object));
        return locate(object);
      };
      return watched(write(bytes, describe, name));
    },
    putPart(uploadId, number, bytes, check) {
      let part: Part;
      const describe = (file: string, written: Written) => {
        check(written);
        const { size, md5 } = written;
        return (part = { uploadId, number, file, size, etag: digest(md5), modifiedAt: Date.now() });
      };
      const name = () => {
        const replaced = index.uploads.setPart(part);
        retire(replaced ?? [part.file]);
        return replaced && part;
      };
      return watched(write(bytes, describe, name));
    },
    complete({ id, key, acl, headers }, parts, etag) {
      const segments = parts.map(({ file, size }) => ({ file, size }));
      const size = segments.reduce((sum, segment) => sum + segment.size, 0);
      const object = { key, segments, size, etag, modifiedAt: Date.now(), acl, headers };
      retire(index.complete(id, object));
      return locate(object);
    },
    merge(object) {
      const { key, etag, modifiedAt } = object;
      const version = `${key}\n${etag}\n${modifiedAt}`;
      const begun = merges.get(version);
      if (begun) return begun;
      const merging = watched(mergeSegments(object)).finally(() => merges.delete(version));
      merges.set(version, merging);
      return merging;
    },
    abort: (uploadId) => retire(index.uploads.delete(uploadId)),
    find(key) {
      const found = index.get(key);
      return found && locate(found);
    },
    remove: (key) => retire(index.delete(key)),
    list: (prefix, after, limit) => index.list(prefix, after, limit).map(locate),
    async close() {
      await Promise.allSettled(writers);
      for (const timer of retired.values()) clearTimeout(timer);
      for (const file of retired.keys()) rmSync(join(folder, file), { force: true });
      closeSync(folderDescriptor);
      index.close();
    },
  };
}

async function* oneAfterTheOther(segments: StoredObject["segments"]): Bytes {
  for (const { path, size } of segments) yield* Bun.file(path).slice(0, size).stream();
}

function removeStrays(folder: string, named: Set<string>): void {
  for (const file of readdirSync(folder)) {
    if (!named.has(file)) rmSync(join(folder, file), { force: true });
  }
}

/**
 * The line after an object's bytes: it says whose they are, should the index ever be lost. Because of it an object is never a
 * whole file, and Bun.serve, which answers ranges of whole files in its own way, leaves them to us.
 */
function trailer(description: object): Buffer {
  return Buffer.from(`\n${JSON.stringify(description)}\n`);
}

const digest = (md5: Buffer) => md5.toString("hex").toUpperCase();

/**
 * Writes to the system's cache, at once: while an asynchronous write is under way, Bun reads on and its buffers grow (+80 MB
 * were seen for 1 GB against +30 MB this way). What takes long, the flush, is asynchronous.
 */
function writeFully(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done);
}
