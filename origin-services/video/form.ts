import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";

import Busboy, { type BusboyFileStream, type BusboyInstance } from "@fastify/busboy";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

const maxFields = 16;
const maxFieldBytes = 4096;

/**
 * Reads a multipart/form-data body that has one file, part by part as it arrives. `takeFile` gets the file's bytes and the fields
 * that came before it; as long as it does not read, nothing more is taken from the network.
 *
 * @param takeFile settles when it is done with the file; what it throws ends the reading.
 * @returns all text fields, and what takeFile returned (null when there was no such part).
 * @throws UNSUPPORTED_MEDIA_TYPE, INVALID_PARAMETER for a malformed, cut or overlong form, TOO_LARGE beyond `maxFileBytes`.
 */
export async function readForm<T>(
  request: Request,
  options: {
    fileField: string;
    maxFileBytes: number;
    takeFile: (file: Readable, fields: ReadonlyMap<string, string>) => Promise<T>;
  },
): Promise<{ fields: Map<string, string>; file: T | null }> {
  const { fileField, maxFileBytes } = options;
  const fields = new Map<string, string>();
  const parser = createParser(request.headers.get("content-type") ?? "", maxFileBytes);
  const fail = (error: Error) => parser.destroy(error);
  const file: { stream?: BusboyFileStream; taken?: Promise<T> } = {};

  parser.on("field", (name, value, nameCut, valueCut) => {
    if (nameCut || valueCut) fail(bad(`${name}: at most ${maxFieldBytes} bytes`));
    else fields.set(name, value);
  });
  parser.on("file", (name, stream) => {
    if (name !== fileField || file.taken) {
      fail(bad(`the form may have one file, in the field ${fileField}`));
      return;
    }
    file.stream = stream;
    // Whoever takes the file hears of its errors; before and after that nobody has to.
    stream.on("error", () => {});
    stream.on("limit", () => {
      const error = flickError(Reason.TOO_LARGE, `${fileField}: at most ${maxFileBytes} bytes`);
      stream.destroy(error);
      fail(error);
    });
    file.taken = options.takeFile(stream, fields);
    file.taken.catch(fail);
  });
  for (const event of ["partsLimit", "fieldsLimit", "filesLimit"] as const) {
    parser.on(event, () => fail(bad(`the form may have at most one file and ${maxFields} other fields`)));
  }

  try {
    await pipeline(Readable.fromWeb(request.body as unknown as NodeReadableStream), parser);
  } catch (error) {
    const cause = error instanceof Error ? error : new Error("the upload ended early");
    file.stream?.destroy(cause);
    // The error that ended the reading is the one to tell; what the file's taker says of it is only its echo.
    await file.taken?.catch(() => {});
    throw isFlickError(cause) ? cause : bad("the form is not valid multipart/form-data, or it ended early", cause);
  }
  return { fields, file: file.taken ? await file.taken : null };
}

function createParser(contentType: string, maxFileBytes: number): BusboyInstance {
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
        files: 1,
        parts: maxFields + 1,
        headerPairs: 20,
        headerSize: 8192,
        fileSize: maxFileBytes,
      },
    });
  } catch (error) {
    throw bad("content-type: its boundary is missing or malformed", error);
  }
}

const isFlickError = (error: Error) => error.name === "ConnectError";
const bad = (message: string, cause?: unknown) => flickError(Reason.INVALID_PARAMETER, message, cause);
