import { fromBinary, createFileRegistry, type FileRegistry, type Message } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, type Any } from "@bufbuild/protobuf/wkt";
import type { Code } from "@connectrpc/connect";

/** Where `run.ts` has put the suite's compiled .proto files: nothing of them is kept here. */
export const imageVariable = "CONFORMANCE_IMAGE";

/** Descriptors of the suite's messages and of the service that both sides speak of. */
export async function loadDescriptors(): Promise<Descriptors> {
  const path = process.env[imageVariable];
  if (!path) throw new Error(`${imageVariable} must name the suite's compiled .proto files: start run.ts`);
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await Bun.file(path).bytes()));
  const service = registry.getService(`${suitePackage}.ConformanceService`);
  if (!service) throw new Error(`${path} has no ConformanceService`);
  const message = (name: string) => {
    const found = registry.getMessage(`${suitePackage}.${name}`);
    if (!found) throw new Error(`${path} has no message ${name}`);
    return found;
  };
  return { registry, service, message };
}

const suitePackage = "connectrpc.conformance.v1";

type Descriptors = {
  registry: FileRegistry;
  service: NonNullable<ReturnType<FileRegistry["getService"]>>;
  message: (name: string) => NonNullable<ReturnType<FileRegistry["getMessage"]>>;
};

/** The runner's messages, each after its length in four bytes (big-endian), until the input ends. */
export async function* readMessages(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let buffered = Buffer.alloc(0);
  for await (const chunk of input) {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readUInt32BE()) {
      const end = 4 + buffered.readUInt32BE();
      yield buffered.subarray(4, end);
      buffered = buffered.subarray(end);
    }
  }
}

/** Writes one message as the runner reads it; whole, so that several may be under way. */
export function writeMessage(bytes: Uint8Array): void {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.byteLength);
  process.stdout.write(Buffer.concat([head, bytes]));
}

export function toHeaderList(headers: Headers): Header[] {
  return [...headers].map(([name, value]) => ({ name, value: [value] }));
}

export function addHeaders(headers: Headers, list: readonly Header[]): void {
  for (const { name, value } of list) for (const one of value) headers.append(name, one);
}

/** What we use of the suite's messages. Source: its proto files, service.proto, client_compat.proto and server_compat.proto. */
export interface Header {
  name: string;
  value: string[];
}

export type ServerCompatRequest = Message & { messageReceiveLimit: number };

export type UnaryRequest = Message & {
  responseDefinition?: {
    responseHeaders: Header[];
    responseTrailers: Header[];
    responseDelayMs: number;
    response:
      | { case: "responseData"; value: Uint8Array }
      | { case: "error"; value: { code: Code; message?: string; details: Any[] } }
      | { case: undefined; value?: undefined };
  };
};

export type ClientCompatRequest = Message & {
  testName: string;
  host: string;
  port: number;
  messageReceiveLimit: number;
  method?: string;
  requestHeaders: Header[];
  requestMessages: Any[];
  timeoutMs?: number;
  cancel?: { cancelTiming: { case: string | undefined; value?: unknown } };
};
