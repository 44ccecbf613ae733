import { createHash, randomUUID } from "node:crypto";
import { closeSync, fsync, mkdirSync, openSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
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
   * Stores bytes under the key, in place of what was there.
   * @param feed hands chunks to its argument, one after another. What it throws is thrown again, and nothing is stored.
   */
  put(key: string, description: Description, feed: (append: Append) => Promise<void>): Promise<StoredObject>;
  find(key: string): StoredObject | null;
  remove(key: string): void;
  /** Up to `limit` objects with the prefix and after the key `after`, in the order of their keys' UTF-8 bytes. */
  list(prefix: string, after: string, limit: number): StoredObject[];
  /** Waits for puts at work (end their connections first), then gives the folder free. */
  close(): Promise<void>;
}

export type Append = (chunk: Uint8Array) => Promise<void>;

export type Acl = "default" | "private" | "public-read";

export interface Description {
  acl: Acl;
  /** Response headers kept with the object, by their names in lower case. */
  headers: Record<string, string>;
}

export interface StoredObject extends Description {
  key: string;
  /** The first `size` bytes of this file are the object's. */
  path: string;
  size: number;
  md5: Buffer;
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

  async function write(key: string, description: Description, feed: (append: Append) => Promise<void>) {
    const file = randomUUID();
    const path = join(folder, file);
    const hash = createHash("md5");
    let size = 0;
    const handle = await open(path, "wx");
    try {
      await feed(async (chunk) => {
        hash.update(chunk);
        size += chunk.length;
        await writeFully(handle, chunk);
      });
      const object = { key, file, size, md5: hash.digest("hex"), modifiedAt: Date.now(), ...description };
      await writeFully(handle, trailer(object));
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
    async put(key, description, feed) {
      const writer = write(key, description, feed);
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

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}
