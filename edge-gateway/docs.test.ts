import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { chromium, type Browser, type Page } from "playwright-core";

import { startFixture, startFixtureStore, type Fixture, viewerToken } from "./testing.ts";

setDefaultTimeout(60_000);

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

const get = (path: string, init?: RequestInit) => fetch(fixture.gateway.url + path, { keepalive: false, ...init });

const files = ["/openapi.json", "/docs", "/docs/", "/docs/page.js", "/docs/page.css"];

test.each(files)("%s costs no body to whoever has it already", async (path) => {
  const first = await get(path);
  const text = await first.text();
  const tag = first.headers.get("etag") ?? "";
  expect(first.status).toBe(200);
  expect(first.headers.get("cache-control")).toBe("public, no-cache");
  expect(first.headers.get("x-content-type-options")).toBe("nosniff");
  expect(text.length).toBeGreaterThan(500);

  for (const known of [tag, `"other", ${tag}`]) {
    const again = await get(path, { headers: { "if-none-match": known } });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    expect(again.headers.get("cache-control")).toBe("public, no-cache");
  }
  const other = await get(path, { headers: { "if-none-match": '"other"' } });
  expect([other.status, await other.text()]).toEqual([200, text]);

  const head = await get(path, { method: "HEAD" });
  expect([head.status, head.headers.get("etag"), await head.text()]).toEqual([200, tag, ""]);
});

test("all that the page asks for is there, and is of the type that browsers insist on", async () => {
  const page = await (await get("/docs")).text();
  const asked = [...page.matchAll(/(?:src|href)="(\/docs\/[^"]+)"/g)].map(([, path = ""]) => path);
  const seen = new Set<string>();
  for (let path = asked.pop(); path !== undefined; path = asked.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    const response = await get(path);
    expect([path, response.status]).toEqual([path, 200]);
    const type = path.endsWith(".css") ? "text/css; charset=utf-8" : "text/javascript; charset=utf-8";
    expect(response.headers.get("content-type")).toBe(type);
    const imports = [...(await response.text()).matchAll(/from "\.\/([^"]+)"/g)];
    asked.push(...imports.map(([, name = ""]) => `/docs/${name}`));
  }
  expect(seen.size).toBeGreaterThan(5);
});

test.each(["/docs/nothing.js", "/docs/index.htm", "/docs/..%2fopenapi.json", "/docs/constructor", "/docs/a/b"])(
  "%s is not there",
  async (path) => {
    const response = await get(path);
    expect(response.status).toBe(404);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toMatchObject({ status_code: 10006 });
  },
);

test("the page may load and call nothing but its own gateway, nor be framed", async () => {
  const policy = (await get("/docs")).headers.get("content-security-policy") ?? "";
  const directives = new Map(policy.split("; ").map((each): [string, string] => [each.split(" ")[0] ?? "", each]));
  expect(directives.get("default-src")).toBe("default-src 'none'");
  expect(directives.get("script-src")).toBe("script-src 'self'");
  expect(directives.get("base-uri")).toBe("base-uri 'none'");
  expect(directives.get("frame-ancestors")).toBe("frame-ancestors 'none'");
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
  expect(await (await get("/docs")).text()).not.toMatch(/<script(?![^>]*src=)|<style|style=|\son\w+=|https?:\/\//);
});

const browserPath = process.env["CHROMIUM_PATH"] || Bun.which("chromium") || Bun.which("google-chrome");

// Nobody needs a browser to work on Flick; where there is one, the page is tried in it.
describe.skipIf(browserPath === null)("the page in Chromium (skipped where there is none)", () => {
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: browserPath ?? "",
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
    });
    page = await browser.newPage();
    page.setDefaultTimeout(10_000);
    page.on("pageerror", (error) => problems.push(error.message));
    // Refused calls are what some of it is about, and Chromium says so.
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("status of 4")) problems.push(message.text());
    });
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== fixture.gateway.url && protocol !== "data:") problems.push(`asks for ${request.url()}`);
    });
  });
  afterAll(async () => {
    await browser?.close();
    expect(problems).toEqual([]);
  });

  async function open(operation: string): Promise<void> {
    await page.goto(`${fixture.gateway.url}/docs#${operation}`);
    await page.waitForSelector(`#${operation}[open] form`);
  }

  test("lists every endpoint, and finds one by a word of it", async () => {
    await page.goto(`${fixture.gateway.url}/docs`);
    await page.waitForSelector(".endpoint");
    const { paths } = (await (await get("/openapi.json")).json()) as { paths: object };
    const count = Object.keys(paths).length;
    expect(await page.locator(".endpoint").count()).toBe(count);
    expect(await page.locator("#index a").count()).toBe(count);
    await page.fill("#filter", "stream");
    expect(await page.locator("#index a").allTextContents()).toEqual(["GET Receive messages as they come"]);
  });

  test("signs in, and takes the token along from then on", async () => {
    const signedUp: string[] = [];
    const asked: { query: string; authorization: string | null }[] = [];
    fixture.origin.answer({
      register({ username, password }) {
        signedUp.push(username, password);
        return { userId: 7n, token: viewerToken };
      },
      listPublished({ count }, { requestHeader }) {
        asked.push({ query: String(count), authorization: requestHeader.get("authorization") });
        return {};
      },
    });
    await open("userRegister");
    await page.fill("#userRegister-username", "zoe");
    await page.fill("#userRegister-password", "it's&me's");
    expect(await page.textContent("#userRegister .trying > pre")).toBe(
      `curl -s '${fixture.gateway.url}/douyin/user/register' \\\n` +
        "  --data-urlencode 'username=zoe' \\\n  --data-urlencode 'password=it'\\''s&me'\\''s'",
    );
    await page.press("#userRegister-password", "Enter");
    await page.waitForSelector("#userRegister .answer-head");
    await open("publishList");
    await page.fill("#publishList-count", "7");
    await page.click("#publishList .send");
    await page.waitForSelector("#publishList .answer-head");
    expect(signedUp).toEqual(["zoe", "it's&me's"]);
    expect(asked).toEqual([{ query: "7", authorization: `Bearer ${viewerToken}` }]);
    // What is shown to copy has no token in it.
    expect(await page.textContent("#publishList .trying > pre")).toContain('-H "Authorization: Bearer $TOKEN"');
    await page.click("#forget");
    expect(await page.inputValue("#token")).toBe("");
  });

  test("sends files", async () => {
    const seen: unknown[] = [];
    const store = startFixtureStore();
    fixture.origin.answer({
      admitVideo({ head }) {
        seen.push(Buffer.from(head).toString());
        return store.admit("raw/9");
      },
      publish({ ticket, title }) {
        seen.push(ticket, title);
        return { videoId: 9n };
      },
    });
    await open("publishAction");
    await page.fill("#token", viewerToken);
    await page.setInputFiles("#publishAction-data", {
      name: "c.mp4",
      mimeType: "video/mp4",
      buffer: Buffer.from("xyz"),
    });
    await page.fill("#publishAction-title", "My day");
    await page.click("#publishAction .send");
    await page.waitForSelector("#publishAction .answer-head");
    expect(seen).toEqual(["xyz", "ticket of raw/9", "My day"]);
    await page.click("#forget");
    await store.stop();
  });

  test("shows messages as they come, until it is told to stop", async () => {
    const { promise: writer, resolve } = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
    const write = async (text: string) => (await writer).enqueue(new TextEncoder().encode(text));
    fixture.origin.answer({
      stream() {
        const body = new ReadableStream<Uint8Array>({ start: resolve });
        return new Response(body, { headers: { "content-type": "text/event-stream" } });
      },
    });
    await open("messageStream");
    await page.fill("#token", viewerToken);
    await page.click("#messageStream .send");
    await write(": hello\n\nid: 1\nda");
    await write('ta: {"content":"<img src=x onerror=alert(1)>"}\n\nid: 2\ndata: {}\n\n');
    await page.waitForSelector("#messageStream .events li:nth-child(2)");
    expect(await page.locator("#messageStream .events li").allTextContents()).toEqual([
      "2{}",
      '1{\n  "content": "<img src=x onerror=alert(1)>"\n}',
    ]);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("Stopped.").waitFor();
  });

  test("shows why a call was refused", async () => {
    await open("commentAction");
    await page.selectOption("#commentAction-action_type", "2");
    await page.fill("#commentAction-video_id", "x");
    await page.click("#commentAction .send");
    const answer = page.locator("#commentAction .answer");
    await answer.getByText("status_code 10001").waitFor();
    expect(await answer.textContent()).toContain("video_id must be a whole number below 2^53.");
  });

  test("fits a telephone, and can be used from the keyboard", async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await open("feed");
    const width = await page.evaluate("document.documentElement.scrollWidth");
    expect(width).toBe(360);
    await page.focus("#feed > summary");
    await page.keyboard.press("Enter");
    expect(await page.getAttribute("#feed", "open")).toBeNull();
    const unnamed = await page.evaluate(
      "[...document.querySelectorAll('input, select')].filter((each) => each.labels.length === 0).length",
    );
    expect(unnamed).toBe(0);
  });
});
