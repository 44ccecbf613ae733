import { Database, SQLiteError } from "bun:sqlite";

import type { Acl } from "./objects.ts";
import { createUploadIndex, type UploadIndex } from "./upload-index.ts";

/** The index of a bucket: which files hold which object. Every change is on disk when its call returns. */
export interface ObjectIndex {
  get(key: string): IndexedObject | null;
  /** Returns the names of the files that the key stood for before. */
  set(object: IndexedObject): string[];
  /** Returns the names of the files that the key stood for. */
  delete(key: string): string[];
  /** Up to `limit` objects with the prefix and after the key `after`, in the order of their keys' UTF-8 bytes. */
  list(prefix: string, after: string, limit: number): IndexedObject[];
  /** The names of all files, those of parts included. */
  files(): Set<string>;
  uploads: UploadIndex;
  /** Makes an object of some of the parts of an upload, which ends with it. Returns the names of the files that are no longer named. */
  complete(uploadId: string, object: IndexedObject): string[];
  close(): void;
}

/** Bytes of an object: the first `size` of a file in the folder of files. */
export interface Segment {
  file: string;
  size: number;
}

export interface IndexedObject {
  key: string;
  /** One, or one for each part that it was uploaded in. */
  segments: Segment[];
  size: number;
  /** MD5 of the bytes in hexadecimal digits; of an object of parts, OSS's digest of their digests. */
  etag: string;
  /** Milliseconds since 1970. */
  modifiedAt: number;
  acl: Acl;
  headers: Record<string, string>;
}

/** `headers` and `segments` as JSON (the latter empty for one file); the rest as in {@link IndexedObject}. */
type Row = Omit<IndexedObject, "headers" | "segments" | "etag"> & {
  file: string;
  md5: string;
  headers: string;
  segments: string;
};

/** @throws when another process has the index open. */
export function openObjectIndex(path: string): ObjectIndex {
  const db = openExclusively(path);
  const select = db.query<Row, [string]>("SELECT * FROM objects WHERE key = ?");
  const upsert = db.query<null, [string, string, number, string, number, string, string, string]>(
    "REPLACE INTO objects (key, file, size, md5, modifiedAt, acl, headers, segments) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const remove = db.query<Row, [string]>("DELETE FROM objects WHERE key = ? RETURNING *");
  const page = db.query<Row, [string, string, number]>(
    "SELECT * FROM objects WHERE key > ? AND key >= ? ORDER BY key LIMIT ?",
  );
  const uploads = createUploadIndex(db);

  function set({ key, segments, size, etag, modifiedAt, acl, headers }: IndexedObject): string[] {
    const before = select.get(key);
    const several = segments.length === 1 ? "" : JSON.stringify(segments);
    upsert.run(key, segments[0]?.file ?? "", size, etag, modifiedAt, acl, JSON.stringify(headers), several);
    return filesOf(before);
  }

  return {
    uploads,
    complete: db.transaction((uploadId: string, object: IndexedObject) => {
      const kept = new Set(object.segments.map(({ file }) => file));
      return [...set(object), ...uploads.delete(uploadId)].filter((file) => !kept.has(file));
    }),
    get(key) {
      const row = select.get(key);
      return row && fromRow(row);
    },
    set: db.transaction(set),
    delete: (key) => filesOf(remove.get(key)),
    list(prefix, after, limit) {
      const rows = page.all(after, prefix, limit);
      const end = rows.findIndex(({ key }) => !key.startsWith(prefix));
      return rows.slice(0, end === -1 ? rows.length : end).map(fromRow);
    },
    files: () => new Set([...db.query<Row, []>("SELECT * FROM objects").all().flatMap(filesOf), ...uploads.files()]),
    close: () => db.close(true),
  };
}

function openExclusively(path: string): Database {
  const db = new Database(path, { create: true, strict: true });
  try {
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = FULL");
    db.run(`CREATE TABLE IF NOT EXISTS objects (
      key TEXT PRIMARY KEY, file TEXT NOT NULL, size INTEGER NOT NULL, md5 TEXT NOT NULL,
      modifiedAt INTEGER NOT NULL, acl TEXT NOT NULL, headers TEXT NOT NULL, segments TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID`);
    // Folders from before there were objects of several parts.
    const columns = db.query<{ name: string }, []>("SELECT name FROM pragma_table_info('objects')").all();
    if (!columns.some(({ name }) => name === "segments")) {
      db.run("ALTER TABLE objects ADD COLUMN segments TEXT NOT NULL DEFAULT ''");
    }
    // A write takes the lock that is then kept until the end.
    db.run("PRAGMA user_version = 2");
    return db;
  } catch (error) {
    db.close();
    if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY")) {
      throw new Error(`Another object store works on ${path}.`, { cause: error });
    }
    throw error;
  }
}

function fromRow({ headers, segments, file, md5, ...row }: Row): IndexedObject {
  return {
    ...row,
    etag: md5,
    segments: segments === "" ? [{ file, size: row.size }] : (JSON.parse(segments) as Segment[]),
    headers: JSON.parse(headers) as Record<string, string>,
  };
}

const filesOf = (row: Row | null) => (row ? fromRow(row).segments.map(({ file }) => file) : []);
