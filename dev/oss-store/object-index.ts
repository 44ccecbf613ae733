import { Database, SQLiteError } from "bun:sqlite";

import type { Acl } from "./objects.ts";

/** The index of a bucket: which file holds which object. Every change is on disk when its call returns. */
export interface ObjectIndex {
  get(key: string): IndexedObject | null;
  /** Returns the name of the file that the key stood for before, or null. */
  set(object: IndexedObject): string | null;
  /** Returns the name of the file that the key stood for, or null. */
  delete(key: string): string | null;
  /** Up to `limit` objects with the prefix and after the key `after`, in the order of their keys' UTF-8 bytes. */
  list(prefix: string, after: string, limit: number): IndexedObject[];
  /** The names of all files. */
  files(): Set<string>;
  close(): void;
}

export interface IndexedObject {
  key: string;
  /** Name of a file in the folder of files. */
  file: string;
  size: number;
  /** MD5 of the bytes in hexadecimal digits. */
  md5: string;
  /** Milliseconds since 1970. */
  modifiedAt: number;
  acl: Acl;
  headers: Record<string, string>;
}

/** `headers` as JSON; the rest as in {@link IndexedObject}. */
type Row = Omit<IndexedObject, "headers"> & { headers: string };

/** @throws when another process has the index open. */
export function openObjectIndex(path: string): ObjectIndex {
  const db = openExclusively(path);
  const select = db.query<Row, [string]>("SELECT * FROM objects WHERE key = ?");
  const upsert = db.query<null, [string, string, number, string, number, string, string]>(
    "REPLACE INTO objects (key, file, size, md5, modifiedAt, acl, headers) VALUES (?, ?, ?, ?, ?, ?, ?)",
  );
  const remove = db.query<{ file: string }, [string]>("DELETE FROM objects WHERE key = ? RETURNING file");
  const page = db.query<Row, [string, string, number]>(
    "SELECT * FROM objects WHERE key > ? AND key >= ? ORDER BY key LIMIT ?",
  );

  return {
    get(key) {
      const row = select.get(key);
      return row && fromRow(row);
    },
    set: db.transaction(({ key, file, size, md5, modifiedAt, acl, headers }: IndexedObject) => {
      const before = select.get(key);
      upsert.run(key, file, size, md5, modifiedAt, acl, JSON.stringify(headers));
      return before?.file ?? null;
    }),
    delete: (key) => remove.get(key)?.file ?? null,
    list(prefix, after, limit) {
      const rows = page.all(after, prefix, limit);
      const end = rows.findIndex(({ key }) => !key.startsWith(prefix));
      return rows.slice(0, end === -1 ? rows.length : end).map(fromRow);
    },
    files: () =>
      new Set(
        db
          .query<{ file: string }, []>("SELECT file FROM objects")
          .all()
          .map(({ file }) => file),
      ),
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
      modifiedAt INTEGER NOT NULL, acl TEXT NOT NULL, headers TEXT NOT NULL
    ) STRICT, WITHOUT ROWID`);
    // A write takes the lock that is then kept until the end.
    db.run("PRAGMA user_version = 1");
    return db;
  } catch (error) {
    db.close();
    if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY")) {
      throw new Error(`Another object store works on ${path}.`, { cause: error });
    }
    throw error;
  }
}

function fromRow({ headers, ...row }: Row): IndexedObject {
  return { ...row, headers: JSON.parse(headers) as Record<string, string> };
}
