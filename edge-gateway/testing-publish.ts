import { afterAll, afterEach, beforeAll } from "bun:test";
import { connect, type Socket } from "node:net";

import { startFixture, startFixtureStore, viewerToken, type Fixture, type FixtureStore } from "./testing.ts";

export const maxUploadBytes = 50_000_000;

/** Starts a gateway and a store for the tests of one file; the fields of the result are there while a test runs. */
export function setUpPublishTests(): PublishTest {
  const t = { takeUploads, openUpload } as PublishTest;

  beforeAll(async () => {
    t.fixture = await startFixture({ MAX_UPLOAD_BYTES: String(maxUploadBytes) });
    t.store = startFixtureStore();
  });
  afterAll(async () => {
    await t.fixture.stop();
    await t.store.stop();
  });
  afterEach(() => {
    t.store.objects.clear();
    t.store.seen.length = 0;
    t.store.answer = undefined;
  });
  return t;

  function takeUploads(refusal: Refusals = {}): Taken {
    const admitted: Admitted[] = [];
    const published: Published[] = [];
    t.fixture.origin.answer({
      admitVideo({ head, title }, { requestHeader }) {
        admitted.push({ head, title, headers: requestHeader });
        if (refusal.admit) throw refusal.admit();
        return t.store.admit(`raw/${admitted.length}`);
      },
      publish({ ticket, title }, { requestHeader }) {
        published.push({ ticket, title, headers: requestHeader });
        if (refusal.publish) throw refusal.publish();
        return { videoId: 9007199254740991n };
      },
    });
    return { admitted, published };
  }

  async function openUpload(...headers: string[]): Promise<OpenUpload> {
    const { hostname, port } = new URL(t.fixture.gateway.url);
    const socket = connect(Number(port), hostname);
    let answer = "";
    socket.on("data", (data: Buffer) => (answer += data.toString()));
    socket.on("error", () => {});
    const path = `/douyin/publish/action/?token=${viewerToken}`;
    socket.write([`POST ${path} HTTP/1.1`, "host: gateway", ...headers, "", ""].join("\r\n"));
    return { socket, answer: () => answer };
  }
}

const boundary = "----WebKitFormBoundaryx7Ab3kQpL9zTq2Wv";
const type = `multipart/form-data; boundary=${boundary}`;
export const multipartType = `content-type: ${type}`;
export const beginFile = `--${boundary}\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n`;
export const field = (name: string, value: string) =>
  `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
export const endOfFile = "\r\n";
export const end = `--${boundary}--\r\n`;

/** Bytes in which much looks like the beginning of a delimiter. */
export function clip(bytes: number): Buffer {
  const file = Buffer.alloc(bytes, `flick\r\n------WebKitFormBoundary${"-".repeat(30)}`);
  for (let at = 0; at + 65_536 < bytes; at += 100_003) crypto.getRandomValues(file.subarray(at, at + 65_536));
  return file;
}

export function form(file: Uint8Array, ...after: string[]): Buffer {
  return Buffer.concat([Buffer.from(beginFile), file, Buffer.from([endOfFile, ...after, end].join(""))]);
}

export const post = (
  body: Bun.BodyInit,
  headers: Record<string, string> = { authorization: `Bearer ${viewerToken}` },
) => ({ method: "POST", body, headers: { "content-type": type, ...headers } }) as const;

/** What a test of publishing works with. */
interface PublishTest {
  fixture: Fixture;
  store: FixtureStore;
  /** Lets every file be stored, and publishes it, but for what is refused. */
  takeUploads(refusal?: Refusals): Taken;
  /** Sends a request's head and leaves the rest to the test. */
  openUpload(...headers: string[]): Promise<OpenUpload>;
}

interface Refusals {
  admit?: () => Error;
  publish?: () => Error;
}

interface Taken {
  admitted: Admitted[];
  published: Published[];
}

interface OpenUpload {
  socket: Socket;
  answer: () => string;
}

interface Admitted {
  head: Uint8Array;
  title: string | undefined;
  headers: Headers;
}

interface Published {
  ticket: string;
  title: string;
  headers: Headers;
}
