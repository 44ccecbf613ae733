import type { Database } from "bun:sqlite";

import type { Description } from "./objects.ts";

/** Multipart uploads that are under way, and the parts of them that are there. */
export interface UploadIndex {
  begin(upload: Upload): void;
  get(id: string): Upload | null;
  /** Returns the names of the files that the part stood for before; null when the upload has ended. */
  setPart(part: Part): string[] | null;
  /** In the order of their numbers. */
  parts(uploadId: string): Part[];
  /** Up to `limit` uploads to keys with the prefix, by key and id, after the given ones. */
  list(prefix: string, after: { key: string; id: string }, limit: number): Upload[];
  /** Forgets an upload. Returns the names of its parts' files. */
  delete(id: string): string[];
  /** The names of all parts' files. */
  files(): string[];
}

export interface Upload extends Description {
  id: string;
  key: string;
  /** Milliseconds since 1970. */
  begunAt: number;
}

export interface Part {
  uploadId: string;
  number: number;
  /** Name of a file in the folder of files. */
  file: string;
  size: number;
  /** MD5 of the bytes in hexadecimal digits. */
  etag: string;
  /** Milliseconds since 1970. */
  modifiedAt: number;
}

/** `headers` as JSON. */
type UploadRow = Omit<Upload, "headers"> & { headers: string };

export function createUploadIndex(db: Database): UploadIndex {
  db.run(`CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, begunAt INTEGER NOT NULL, acl TEXT NOT NULL, headers TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`);
  db.run("CREATE INDEX IF NOT EXISTS uploads_key ON uploads (key, id)");
  db.run(`CREATE TABLE IF NOT EXISTS parts (
    uploadId TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modifiedAt INTEGER NOT NULL, PRIMARY KEY (uploadId, number)
  ) STRICT, WITHOUT ROWID`);
  const insert = db.query<null, [string, string, number, string, string]>(
    "INSERT INTO uploads (id, key, begunAt, acl, headers) VALUES (?, ?, ?, ?, ?)",
  );
  const select = db.query<UploadRow, [string]>("SELECT * FROM uploads WHERE id = ?");
  const page = db.query<UploadRow, [string, string, string, number]>(
    "SELECT * FROM uploads WHERE (key, id) > (?, ?) AND key >= ? ORDER BY key, id LIMIT ?",
  );
  const remove = db.query<null, [string]>("DELETE FROM uploads WHERE id = ?");
  const selectPart = db.query<Part, [string, number]>("SELECT * FROM parts WHERE uploadId = ? AND number = ?");
  const upsertPart = db.query<null, [string, number, string, number, string, number]>(
    "REPLACE INTO parts (uploadId, number, file, size, etag, modifiedAt) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const selectParts = db.query<Part, [string]>("SELECT * FROM parts WHERE uploadId = ? ORDER BY number");
  const removeParts = db.query<{ file: string }, [string]>("DELETE FROM parts WHERE uploadId = ? RETURNING file");

  return {
    begin: ({ id, key, begunAt, acl, headers }) => void insert.run(id, key, begunAt, acl, JSON.stringify(headers)),
    get(id) {
      const row = select.get(id);
      return row && fromRow(row);
    },
    setPart: db.transaction(({ uploadId, number, file, size, etag, modifiedAt }: Part) => {
      if (!select.get(uploadId)) return null;
      const before = selectPart.get(uploadId, number);
      upsertPart.run(uploadId, number, file, size, etag, modifiedAt);
      return before ? [before.file] : [];
    }),
    parts: (uploadId) => selectParts.all(uploadId),
    list(prefix, after, limit) {
      const rows = page.all(after.key, after.id, prefix, limit);
      const end = rows.findIndex(({ key }) => !key.startsWith(prefix));
      return rows.slice(0, end === -1 ? rows.length : end).map(fromRow);
    },
    delete: db.transaction((id: string) => {
      remove.run(id);
      return removeParts.all(id).map(({ file }) => file);
    }),
    files: () =>
      db
        .query<{ file: string }, []>("SELECT file FROM parts")
        .all()
        .map(({ file }) => file),
  };
}

function fromRow({ headers, ...row }: UploadRow): Upload {
  return { ...row, headers: JSON.parse(headers) as Record<string, string> };
}
