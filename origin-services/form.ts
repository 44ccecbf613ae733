import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";

import Busboy, { type BusboyFileStream, type BusboyInstance } from "@fastify/busboy";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

const maxFields = 16;
const maxFieldBytes = 4096;

/** A file of a form, while it arrives. */
export interface FormFile {
  field: string;
  /** Empty when its sender chose none: browsers send an empty file then. */
  name: string;
  stream: Readable;
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
  request: Request,
  options: {
    /** Each takes one file. */
    fileFields: readonly string[];
    maxFileBytes: number;
    takeFile: (file: FormFile, fields: ReadonlyMap<string, string>) => Promise<T>;
  },
): Promise<{ fields: Map<string, string>; files: Map<string, T> }> {
  const { fileFields, maxFileBytes } = options;
  const fields = new Map<string, string>();
  const contentType = request.headers.get("content-type") ?? "";
  const parser = createParser(contentType, { maxFileBytes, maxFiles: fileFields.length });
  const fail = (error: Error) => parser.destroy(error);
  const streams: BusboyFileStream[] = [];
  const taken = new Map<string, Promise<T>>();

  parser.on("field", (name, value, nameCut, valueCut) => {
    if (nameCut || valueCut) fail(bad(`${name}: at most ${maxFieldBytes} bytes`));
    else fields.set(name, value);
  });
  parser.on("file", (field, stream, name) => {
    if (!fileFields.includes(field) || taken.has(field)) {
      fail(bad(`the form may have one file in the field ${fileFields.join(", one in ")}`));
      return;
    }
    streams.push(stream);
    // Whoever takes the file hears of its errors; before and after that nobody has to.
    stream.on("error", () => {});
    stream.on("limit", () => {
      const error = flickError(Reason.TOO_LARGE, `${field}: at most ${maxFileBytes} bytes`);
      stream.destroy(error);
      fail(error);
    });
    const taking = options.takeFile({ field, name, stream }, fields);
    taking.catch(fail);
    taken.set(field, taking);
  });
  for (const event of ["partsLimit", "fieldsLimit", "filesLimit"] as const) {
    parser.on(event, () =>
      fail(bad(`the form may have at most ${fileFields.length} file(s) and ${maxFields} other fields`)),
    );
  }

  try {
    await pipeline(Readable.fromWeb(request.body as unknown as NodeReadableStream), parser);
  } catch (error) {
    const cause = error instanceof Error ? error : new Error("the upload ended early");
    for (const stream of streams) stream.destroy(cause);
    // The error that ended the reading is the one to tell; what the takers of the files say of it is only its echo.
    await Promise.allSettled(taken.values());
    throw isFlickError(cause) ? cause : bad("the form is not valid multipart/form-data, or it ended early", cause);
  }
  const settled = await Promise.allSettled(taken.values());
  const failed = settled.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  const files = new Map<string, T>();
  for (const [field, taking] of taken) files.set(field, await taking);
  return { fields, files };
}

function createParser(contentType: string, limits: { maxFileBytes: number; maxFiles: number }): BusboyInstance {
  if (!/^multipart\/form-data\b/i.test(contentType)) {
    throw flickError(Reason.UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data");
  }
  try {
    return new Busboy({
      headers: { "content-type": contentType },
      limits: {
        fieldNameSize: 100,
        fieldSize: maxFieldBytes,
        fields: maxFields,
        files: limits.maxFiles,
        parts: maxFields + limits.maxFiles,
        headerPairs: 20,
        headerSize: 8192,
        fileSize: limits.maxFileBytes,
      },
    });
  } catch (error) {
    throw bad("content-type: its boundary is missing or malformed", error);
  }
}

const isFlickError = (error: Error) => error.name === "ConnectError";
const bad = (message: string, cause?: unknown) => flickError(Reason.INVALID_PARAMETER, message, cause);
