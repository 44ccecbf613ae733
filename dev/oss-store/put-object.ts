import { invalidArgument, notImplemented, OssError } from "./errors.ts";
import type { Acl, Append, Description, Objects, StoredObject } from "./objects.ts";

const acls: readonly string[] = ["default", "private", "public-read"] satisfies Acl[];

/** Kept with the object and sent with it; `x-oss-meta-*` too. */
const keptHeaders = ["content-type", "cache-control", "content-disposition", "content-encoding", "expires"];

/** What this store understands of OSS's own request headers. Any other asks for something that would not happen. */
const knownHeaders = new Set(["x-oss-date", "x-oss-content-sha256", "x-oss-object-acl", "x-oss-user-agent"]);

/**
 * PutObject: streams the body to disk with its pace.
 *
 * @param maxBytes larger bodies are refused, at once when they announce their length.
 * @throws {OssError} EntityTooLarge, InvalidDigest, MissingContentLength, …
 */
export async function putObject(
  objects: Objects,
  key: string,
  request: Request,
  maxBytes: number,
): Promise<StoredObject> {
  const { headers } = request;
  const description = describe(headers);
  const announced = contentLength(headers);
  if (announced !== null && announced > maxBytes) throw tooLarge(maxBytes);
  const expectedMd5 = contentMd5(headers);

  return objects.put(key, description, async (append) => {
    const { size, md5 } = await copy(request.body, append, maxBytes);
    if (announced !== null && size !== announced) {
      throw new OssError(400, "IncompleteBody", `The body has ${size} bytes, Content-Length says ${announced}.`);
    }
    if (expectedMd5 !== null && md5 !== expectedMd5) {
      throw new OssError(400, "InvalidDigest", "The Content-MD5 you specified did not match what we received.", {
        ExpectedDigest: expectedMd5,
        CalculatedDigest: md5,
      });
    }
  });
}
