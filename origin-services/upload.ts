import type { JsonValue } from "@bufbuild/protobuf";
import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { Context } from "./context.ts";
import { readForm, type FormFile } from "./form.ts";
import { identify, publicError, type Identities } from "./interceptors.ts";
import { makeRawKey, type RawFolder } from "./raw-key.ts";

const maxUploads = 64;
/** Uploads at once whose sender is not known until the form's end, because the token follows the file. */
const maxUnknownSenders = 16;
/** Room in the body for boundaries and for the other fields. */
const multipartOverhead = 64 * 1024;

/** One of the uploads of proto/upload.ts. */
export interface UploadKind<Read> {
  path: string;
  /** Each takes one file. */
  fileFields: readonly string[];
  maxFileBytes: number;
  folder: RawFolder;
  /** The media type of a file, told by its first bytes. @throws when it is not what is expected. */
  sniff: (head: Uint8Array, field: string) => string;
  /** How many bytes {@link sniff} wants to see. */
  sniffBytes: number;
  /** Refuses the fields that came before a file if there is no use in reading on. */
  check: (fields: Texts) => void;
  /** What the form asks for. @throws when something is wrong with it; its files are deleted then. */
  read: (form: UploadedForm) => Read;
  /** Makes it so, in one transaction. The answer waits for nothing else. */
  commit: (viewerId: number, asked: Read) => Promise<JsonValue>;
}

export interface UploadedForm {
  fields: Texts;
  /** By the name of the field. */
  files: ReadonlyMap<string, StoredFile>;
}

export interface StoredFile {
  id: number;
  rawKey: string;
}

type Texts = ReadonlyMap<string, string>;

/** A streaming upload: files go straight on to object storage, then one transaction inserts the rows that are the media worker's jobs. */
export function createUploadHandler<Read>(
  context: Context,
  identities: Identities,
  kind: UploadKind<Read>,
): (request: Request) => Promise<Response> {
  const { objects, log } = context;
  const { path, fileFields, maxFileBytes } = kind;
  let uploads = 0;
  let unknownSenders = 0;

  return async (request) => {
    try {
      return Response.json(await admit(request));
    } catch (error) {
      const requestId = request.headers.get("x-request-id") ?? undefined;
      const known = publicError(error, log, { method: path, requestId });
      // Without `connection: close`: it would cut off the rest of the body, and the refusal with it before the gateway has read it.
      return Response.json(errorToJson(known, undefined), { status: codeToHttpStatus(known.code) });
    }
  };

  /** Refuses what can be refused before the body is read. */
  async function admit(request: Request): Promise<JsonValue> {
    if (request.method !== "POST") throw flickError(Reason.METHOD_NOT_ALLOWED, "an upload is a POST");
    const { viewerId } = await identify(request.headers, identities);
    const maxBytes = fileFields.length * maxFileBytes + multipartOverhead;
    if (Number(request.headers.get("content-length") ?? 0) > maxBytes) {
      throw flickError(Reason.TOO_LARGE, `${fileFields.join(", ")}: at most ${maxFileBytes} bytes`);
    }
    if (uploads >= maxUploads || (!viewerId && unknownSenders >= maxUnknownSenders)) {
      throw flickError(Reason.BUSY, "too many uploads at once: try again");
    }
    uploads++;
    if (!viewerId) unknownSenders++;
    try {
      return await receive(request, viewerId);
    } finally {
      uploads--;
      if (!viewerId) unknownSenders--;
    }
  }

  async function receive(request: Request, knownId: number): Promise<JsonValue> {
    const query = [...new URL(request.url).searchParams];
    const stored: string[] = [];
    let viewerId: number;
    let asked: Read;
    try {
      const { body } = request;
      const { fields, files } = body ? await readParts(request, body, knownId, stored) : emptyForm;
      viewerId = knownId || (await viewerOf(fields));
      // A text in the query stands in for a missing part.
      asked = kind.read({ fields: new Map([...query, ...fields]), files });
    } catch (error) {
      for (const key of stored) {
        await objects.delete(key).catch((cause: unknown) => log.warn("upload not deleted", { error: cause }));
      }
      throw error;
    }
    // From here on the objects stay, whatever happens: after a failed commit nobody knows whether the rows are there. If they are
    // not, the sweep of uploads finds the objects.
    return kind.commit(viewerId, asked);
  }

  /** @param stored takes up the keys of what is in object storage. */
  async function readParts(
    { headers, signal }: Request,
    body: ReadableStream<Uint8Array>,
    knownId: number,
    stored: string[],
  ) {
    const { fields, files } = await readForm(
      { headers, body },
      {
        fileFields,
        maxFileBytes,
        async takeFile(file, before): Promise<StoredFile | null> {
          // What came before the file may already tell that there is no use in reading on.
          if (!knownId && before.has("token")) await viewerOf(before);
          kind.check(before);
          const { head, all } = await peek(file.bytes, kind.sniffBytes);
          if (isNoFile(file, head)) return null;
          const contentType = kind.sniff(head, file.field);
          const id = context.newId();
          const rawKey = makeRawKey(kind.folder, id);
          await objects.put(rawKey, all, { contentType, signal });
          stored.push(rawKey);
          return { id, rawKey };
        },
      },
    );
    const chosen = [...files].flatMap(([field, file]) => (file ? [[field, file] as const] : []));
    return { fields, files: new Map(chosen) };
  }

  async function viewerOf(fields: Texts): Promise<number> {
    const token = fields.get("token");
    if (!token) throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    return (await identities.viewer(token)).userId;
  }
}

const emptyForm: UploadedForm = { fields: new Map(), files: new Map() };

const isNoFile = (file: FormFile, head: Uint8Array) => file.name === "" && head.length === 0;

/** The first bytes, fewer when there are not so many, and all of them from the beginning. */
async function peek(
  bytes: AsyncIterable<Uint8Array>,
  count: number,
): Promise<{ head: Uint8Array; all: AsyncIterable<Uint8Array> }> {
  const rest = bytes[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let length = 0;
  while (length < count) {
    const { done, value } = await rest.next();
    if (done) break;
    first.push(value);
    length += value.length;
  }
  const head = Buffer.concat(first);
  const next = () => {
    const value = first.shift();
    return value ? Promise.resolve({ done: false as const, value }) : rest.next();
  };
  return { head, all: { [Symbol.asyncIterator]: () => ({ next }) } };
}
