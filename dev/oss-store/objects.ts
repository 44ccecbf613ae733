import { createHash, randomUUID } from "node:crypto";
import { closeSync, fsync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { type IndexedObject, openObjectIndex } from "./object-index.ts";

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

export interface StoredObject extends Description, Written {
  key: string;
  /** The first `size` bytes of this file are the object's. */
  path: string;
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
  const writers = new Set<Promise<StoredObject>>();
  const retired = new Map<string, Timer>();

  async function write(key: string, description: Description, bytes: Bytes, check: (written: Written) => void) {
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
      const md5 = hash.digest();
      check({ size, md5 });
      const object = { key, file, size, md5: md5.toString("hex"), modifiedAt: Date.now(), ...description };
      writeFully(handle.fd, trailer(object));
      await handle.sync();
      await flush(folderDescriptor);
      retire(index.set(object));
      return locate(object);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
  }

  function retire(file: string | null): void {
    if (file === null) return;
    const remove = () => {
      retired.delete(file);
      rmSync(join(folder, file), { force: true });
    };
    retired.set(file, setTimeout(remove, retireAfterMs).unref());
  }

  const locate = ({ file, md5, ...rest }: IndexedObject): StoredObject => ({
    ...rest,
    path: join(folder, file),
    md5: Buffer.from(md5, "hex"),
  });

  return {
    async put(key, description, bytes, check) {
      const writer = write(key, description, bytes, check);
      writers.add(writer);
      try {
        return await writer;
      } finally {
        writers.delete(writer);
      }
    },
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

function removeStrays(folder: string, named: Set<string>): void {
  for (const file of readdirSync(folder)) {
    if (!named.has(file)) rmSync(join(folder, file), { force: true });
  }
}

/**
 * The line after an object's bytes: it says whose they are, should the index ever be lost. Because of it an object is never a
 * whole file, and Bun.serve, which answers ranges of whole files in its own way, leaves them to us.
 */
function trailer(object: IndexedObject): Buffer {
  return Buffer.from(`\n${JSON.stringify(object)}\n`);
}

/**
 * Writes to the system's cache, at once: while an asynchronous write is under way, Bun reads on and its buffers grow (+80 MB
 * were seen for 1 GB against +30 MB this way). What takes long, the flush, is asynchronous.
 */
function writeFully(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done);
}
