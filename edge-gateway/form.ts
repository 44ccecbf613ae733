import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { ByteSource } from "./large-reads.ts";
import { readMultipart, type Part } from "./multipart.ts";

const maxFields = 16;
const maxFieldBytes = 4096;
const maxNameLength = 100;

/** A file of a form, while it arrives. */
export interface FormFile {
  field: string;
  /** Empty when its sender chose none: browsers send an empty file then. */
  name: string;
  /** To be gone through once; each piece is good until the next is asked for. */
  bytes: AsyncIterable<Uint8Array>;
  /** Has `bytes` fail with TOO_LARGE beyond so many, unless they do so earlier. */
  limit(maxBytes: number): void;
}

/**
 * Reads a multipart/form-data body with files, part by part as it arrives. `takeFile` gets each file and the fields that came
 * before it; as long as it does not read, nothing more is taken from the network.
 *
 * @param options.takeFile settles when it is done with the file; what it throws ends the reading.
 * @returns all text fields, and what takeFile returned, by the name of the file's field.
 * @throws UNSUPPORTED_MEDIA_TYPE, INVALID_PARAMETER for a malformed, cut or overlong form, TOO_LARGE for a file beyond `maxFileBytes`.
 */
export async function readForm<T>(
  { source, contentType }: { source: ByteSource; contentType: string },
  options: {
    /** Each takes one file. */
    fileFields: readonly string[];
    maxFileBytes: number;
    takeFile: (file: FormFile, fields: ReadonlyMap<string, string>) => Promise<T>;
  },
): Promise<{ fields: Map<string, string>; files: Map<string, T> }> {
  const { fileFields, maxFileBytes } = options;
  const fields = new Map<string, string>();
  const files = new Map<string, T>();
  let texts = 0;
  let unnamed = 0;

  for await (const part of readMultipart(source, contentType)) {
    const { name } = part;
    if (name !== null && name.length > maxNameLength) {
      throw bad(`the name of a field may have at most ${maxNameLength} characters`);
    }
    if (name === null) unnamed++;
    else if (isFile(part)) await readFile(name, part);
    else {
      const text = await readText(name, part, ++texts);
      // As everywhere: of several of one name the first counts, unless it is empty.
      if (!fields.get(name)) fields.set(name, text);
    }
    if (unnamed + texts > maxFields) throw tooMany();
  }
  return { fields, files };

  async function readText(name: string, part: Part, count: number): Promise<string> {
    if (count > maxFields) throw tooMany();
    const bytes = await readAll(limited(part, maxFieldBytes, (most) => bad(`${name}: at most ${most} bytes`)));
    try {
      return new TextDecoder(part.charset).decode(bytes);
    } catch (error) {
      throw bad(`${name}: its text is in a charset that we do not know`, error);
    }
  }

  async function readFile(field: string, part: Part): Promise<void> {
    if (!fileFields.includes(field) || files.has(field)) {
      throw bad(`the form may have one file in the field ${fileFields.join(", one in ")}`);
    }
    const bytes = limited(part, maxFileBytes, (most) => tooLarge(field, most));
    const { limit } = bytes;
    try {
      files.set(field, await options.takeFile({ field, name: part.fileName ?? "", bytes, limit }, fields));
    } catch (error) {
      // What is wrong with the form is what to tell; of that, what the taker says is only the echo.
      throw bytes.failure() ?? error;
    }
  }

  function tooMany() {
    return bad(`the form may have at most ${fileFields.length} file(s) and ${maxFields} other fields`);
  }
}

/** What is told of a file that has more bytes. */
export const tooLarge = (field: string, maxBytes: number) =>
  flickError(Reason.TOO_LARGE, `${field}: at most ${maxBytes} bytes`);

interface LimitedBytes extends AsyncIterable<Uint8Array> {
  /** Lowers the limit. */
  limit(maxBytes: number): void;
  /** Why there are no more. */
  failure(): unknown;
}

/** The body of a part, which must not be longer. No generator: there is a step for every 64 KiB of an upload. */
function limited(part: Part, maxBytes: number, tooLong: (maxBytes: number) => Error): LimitedBytes {
  let most = maxBytes;
  let size = 0;
  let failure: unknown;
  async function next(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      const value = await part.next();
      size += value?.length ?? 0;
      if (size > most) throw tooLong(most);
      return value ? { done: false, value } : { done: true, value: undefined };
    } catch (error) {
      failure ??= error;
      throw error;
    }
  }
  return {
    limit: (lower) => void (most = Math.min(most, lower)),
    failure: () => failure,
    [Symbol.asyncIterator]: () => ({ next }),
  };
}

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  let all = new Uint8Array();
  for await (const piece of bytes) all = concat(all, piece);
  return all;
}

/** Two pieces in an array of their own. */
export function concat(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

const isFile = ({ fileName, type }: Part) => fileName !== null || type === "application/octet-stream";
const bad = (message: string, cause?: unknown) => flickError(Reason.INVALID_PARAMETER, message, cause);
