import { afterAll, beforeAll, describe, expect, setSystemTime, test } from "bun:test";

import { createClient, outcome, send, signPut, signRequest, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;

beforeAll(async () => {
  store = startTestStore();
  await store.client.put("private.txt", Buffer.from("private"));
  await store.client.put("public.txt", Buffer.from("public"), { headers: { "x-oss-object-acl": "public-read" } });
});

afterAll(() => store.remove());

const minutes = 60_000;

describe("a signature in the header", () => {
  const signGet = (options = {}) => signRequest(store.url, (client) => client.get("private.txt"), options);

  test("lets its owner read, write, list and delete", async () => {
    expect(await (await send(await signGet())).text()).toBe("private");
    expect(await outcome(await send(await signPut(store.url, "a/new.txt", "new")))).toBe("200");
    expect(await outcome(await send(await signRequest(store.url, (client) => client.delete("a/new.txt"))))).toBe("204");
    const list = await signRequest(store.url, (client) => client.listV2({ prefix: "p", "max-keys": 10 }));
    expect(await (await send(list)).text()).toContain("<Key>private.txt</Key>");
  });

  test("is good for its key, method, query and headers only", async () => {
    const put = await signPut(store.url, "mine.txt", "x", { "Cache-Control": "no-cache" });
    const get = await signGet();
    const tampered = {
      "another key": { ...put, url: put.url.replace("mine", "yours") },
      "another method": { ...get, method: "DELETE" },
      "another parameter": { ...get, url: `${get.url}?list-type=2` },
      "another type": { ...put, headers: { ...put.headers, "Content-Type": "text/html" } },
      "an ACL": { ...put, headers: { ...put.headers, "x-oss-object-acl": "public-read" } },
      "a digest": { ...put, headers: { ...put.headers, "Content-MD5": "nQnkgVcQ9dBAKTKRvNbmrg==" } },
      "another date": { ...get, headers: { ...get.headers, "x-oss-date": nextSecond(get.headers["x-oss-date"]) } },
    };
    for (const [what, request] of Object.entries(tampered)) {
      expect([what, await outcome(await send(request))]).toEqual([what, "403 SignatureDoesNotMatch"]);
    }
    expect(await (await send(await signGet())).text()).toBe("private");
    expect(await outcome(await send(await signRequest(store.url, (client) => client.head("mine.txt"))))).toBe("404");
  });

  test("covers the additional headers that it names", async () => {
    const options = { headers: { range: "bytes=0-2" }, additionalHeaders: ["range"] };
    const request = await signRequest(store.url, (client) => client.get("private.txt", options));
    const { authorization = "", ...headers } = request.headers;
    expect(await outcome(await send(request))).toBe("206");
    const wider = { ...headers, authorization, range: "bytes=0-6" };
    expect(await outcome(await send({ ...request, headers: wider }))).toBe("403 SignatureDoesNotMatch");
    const dropped = { ...headers, authorization: authorization.replace("AdditionalHeaders=range,", "") };
    expect(await outcome(await send({ ...request, headers: dropped }))).toBe("403 SignatureDoesNotMatch");
  });

  test("needs the right secret, key id and region", async () => {
    expect(await outcome(await send(await signGet({ accessKeySecret: "guess" })))).toBe("403 SignatureDoesNotMatch");
    expect(await outcome(await send(await signGet({ accessKeyId: "nobody" })))).toBe("403 InvalidAccessKeyId");
    expect(await outcome(await send(await signGet({ region: "oss-cn-beijing" })))).toBe("400 InvalidArgument");
    const request = await signGet();
    const authorization = request.headers.authorization?.replace(/Signature=.*/, "Signature=") ?? "";
    expect(await outcome(await send({ ...request, headers: { ...request.headers, authorization } }))).toBe(
      "400 InvalidArgument",
    );
  });

  test("is refused when its clock is more than 15 minutes off", async () => {
    for (const off of [-16, 16]) {
      const request = await signGet({ amendTimeSkewed: off * minutes });
      expect(await outcome(await send(request))).toBe("403 RequestTimeTooSkewed");
    }
    for (const off of [-14, 14]) {
      expect(await outcome(await send(await signGet({ amendTimeSkewed: off * minutes })))).toBe("200");
    }
  });

  test("must be of version 4", async () => {
    const response = await send(await signGet({ authorizationV4: false }));
    expect(response.status).toBe(400);
    expect(await response.text()).toContain("Only signature version 4");
  });
});

describe("a presigned URL", () => {
  const sign = (expires = 60, options = {}) =>
    createClient(store.url, options).signatureUrlV4("GET", expires, undefined, "private.txt");
  const follow = (url: string, method = "GET") => send({ url, method, headers: {} });

  test("lets anybody read its object", async () => {
    expect(await (await follow(await sign())).text()).toBe("private");
  });

  test("lets anybody write its object", async () => {
    const url = await store.client.signatureUrlV4("PUT", 60, undefined, "dropped.txt");
    const response = await send({ url, method: "PUT", headers: {}, body: Buffer.from("dropped") });
    expect(await outcome(response)).toBe("200");
    expect((await store.client.get("dropped.txt")).content).toEqual(Buffer.from("dropped"));
  });

  test("is good for its key, method and query only", async () => {
    const url = await sign();
    const tampered = [
      url.replace("private.txt", "other.txt"),
      url.replace("x-oss-expires=60", "x-oss-expires=3600"),
      url.replace(/x-oss-signature=./, (start) => (start.endsWith("0") ? "x-oss-signature=1" : "x-oss-signature=0")),
      `${url}&response-content-type=text%2Fhtml`,
    ];
    for (const other of tampered) expect(await outcome(await follow(other))).toBe("403 SignatureDoesNotMatch");
    expect(await outcome(await follow(url, "DELETE"))).toBe("403 SignatureDoesNotMatch");
    expect((await follow(url, "HEAD")).status).toBe(403);
    expect(await outcome(await follow(`${url}&x-oss-expires=3600`))).toBe("400 InvalidArgument");
  });

  test("cannot be given an ACL by its holder", async () => {
    const url = await store.client.signatureUrlV4("PUT", 60, undefined, "dropped-public.txt");
    const headers = { "x-oss-object-acl": "public-read" };
    expect(await outcome(await send({ url, method: "PUT", headers, body: Buffer.from("x") }))).toBe(
      "403 SignatureDoesNotMatch",
    );
  });

  test("ends when its time is over", async () => {
    const url = await sign(1);
    expect(await outcome(await follow(url))).toBe("200");
    await Bun.sleep(2050);
    const response = await follow(url);
    expect(response.status).toBe(403);
    expect(await response.text()).toMatch(/<Code>AccessDenied<.*Request has expired/);
  });

  test("is not good before its time", async () => {
    setSystemTime(Date.now() + 16 * minutes);
    const early = await sign();
    setSystemTime();
    expect(await outcome(await follow(early))).toBe("403 RequestTimeTooSkewed");
  });

  test("lives for 7 days at most", async () => {
    expect(await outcome(await follow(await sign(604_800)))).toBe("200");
    for (const expires of [604_801, 0, -1])
      expect(await outcome(await follow(await sign(expires)))).toBe("400 InvalidArgument");
  });

  test("does not go together with a signed header", async () => {
    const { headers } = await signRequest(store.url, (client) => client.get("private.txt"));
    expect(await outcome(await send({ url: await sign(), method: "GET", headers }))).toBe("400 InvalidArgument");
  });

  test("needs the right secret and key id", async () => {
    expect(await outcome(await follow(await sign(60, { accessKeySecret: "guess" })))).toBe("403 SignatureDoesNotMatch");
    expect(await outcome(await follow(await sign(60, { accessKeyId: "nobody" })))).toBe("403 InvalidAccessKeyId");
  });
});

describe("a stranger", () => {
  const ask = (path: string, method = "GET") => send({ url: `${store.url}${path}`, method, headers: {} });

  test("reads public objects, whatever unknown parameters say", async () => {
    expect(await (await ask("/public.txt")).text()).toBe("public");
    expect(await (await ask("/public.txt?v=2")).text()).toBe("public");
    expect((await ask("/public.txt", "HEAD")).headers.get("content-length")).toBe("6");
  });

  test("cannot tell a private object from none", async () => {
    expect(await outcome(await ask("/private.txt"))).toBe("403 AccessDenied");
    expect(await outcome(await ask("/missing.txt"))).toBe("403 AccessDenied");
    expect((await ask("/private.txt", "HEAD")).status).toBe(403);
  });

  test("writes, deletes and lists nothing", async () => {
    expect(await outcome(await ask("/public.txt", "DELETE"))).toBe("403 AccessDenied");
    expect(await outcome(await ask("/?list-type=2"))).toBe("403 AccessDenied");
    const put = { url: `${store.url}/public.txt`, method: "PUT", headers: {}, body: Buffer.from("defaced") };
    expect(await outcome(await send(put))).toBe("403 AccessDenied");
    expect(await (await ask("/public.txt")).text()).toBe("public");
  });
});

/** A moment in the form of `x-oss-date`, one second later or earlier within its minute. */
function nextSecond(date = ""): string {
  const seconds = Number(date.slice(13, 15));
  return `${date.slice(0, 13)}${String(seconds === 59 ? 58 : seconds + 1).padStart(2, "0")}Z`;
}
