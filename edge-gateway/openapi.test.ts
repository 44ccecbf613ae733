import { afterAll, expect, test } from "bun:test";

import { Validator } from "@seriousme/openapi-schema-validator";

import { emptyOf } from "./fields.ts";
import { createGateway } from "./gateway.ts";
import { userSchema } from "./objects.ts";
import { contractOf, escape } from "./openapi-testing.ts";
import { startFixture } from "./testing.ts";

const fixture = await startFixture();
afterAll(() => fixture.stop());

const get = (path: string, init?: RequestInit) => fetch(fixture.gateway.url + path, { keepalive: false, ...init });
const document = (await (await get("/openapi.json")).json()) as {
  tags: { name: string }[];
  paths: Record<string, Record<string, unknown>>;
  components: { schemas: Record<string, unknown> };
};
const { operations, problemsAt } = contractOf(document);

test("the document is OpenAPI 3.1 by its official schema", async () => {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(structuredClone(document));
  expect(errors ?? []).toEqual([]);
  expect(valid).toBe(true);
  expect(validator.version).toBe("3.1");
});

test("every route is in the document, and nothing else is", () => {
  // The document itself, the page that shows it, and the keys, which have a form of their own.
  const gateway = createGateway(
    { ORIGIN_URL: "http://127.0.0.1:1", MAX_UPLOAD_BYTES: 5000 },
    { addressOf: () => undefined },
  );
  if ("problems" in gateway) throw new Error(gateway.problems.join());
  const pages = new Set(["/openapi.json", "/docs", "/docs/:file", "/.well-known/jwks.json"]);
  const routes = gateway.app.routes.filter(({ path }) => path !== "/*" && !pages.has(path)).map(({ path }) => path);
  expect(routes.toSorted()).toEqual(Object.keys(document.paths).toSorted());
});

test("every route of the document answers with a slash at its end, and takes no other method than the one it has there", async () => {
  for (const { path, method } of operations) {
    for (const asked of [path, `${path}/`]) {
      const other = await get(asked, { method: method === "GET" ? "POST" : "GET" });
      expect(other.status).toBe(405);
      expect(other.headers.get("allow")).toStartWith(method);
      expect(problemsAt("/components/schemas/Envelope", envelopeOf(await other.json()))).toEqual([]);
    }
  }
});

/** Without the endpoint's own fields. */
function envelopeOf(answer: unknown): unknown {
  const { status_code, status_msg } = answer as { status_code: unknown; status_msg: unknown };
  return { status_code, status_msg };
}

test("every operation has a name, a summary, a tag of those that there are, and says how it fails", () => {
  expect(new Set(operations.map(({ id }) => id)).size).toBe(operations.length);
  for (const { source } of operations) {
    expect(source.summary).toMatch(/^[A-Z].+[^.]$/);
    expect(document.tags.map(({ name }) => [name])).toContainEqual(source.tags);
    for (const status of ["200", "429", "500", "default"]) expect(Object.keys(source.responses)).toContain(status);
  }
});

test.each(operations)("the examples of $id are what they are examples of", (operation) => {
  const { path, method, source } = operation;
  const base = `/paths/${escape(path)}/${method.toLowerCase()}`;
  let examples = 0;
  const check = (pointer: string, value: unknown) => {
    examples++;
    expect(problemsAt(`${base}/${pointer}`, value)).toEqual([]);
  };
  for (const [index, { schema }] of source.parameters.entries()) {
    for (const example of schema.examples ?? []) {
      check(`parameters/${index}/schema`, example);
      // What a query carries is text.
      check(`parameters/${index}/schema`, String(example));
    }
  }
  for (const [type, media] of Object.entries(source.requestBody?.content ?? {})) {
    for (const { value } of Object.values(media.examples ?? {}))
      check(`requestBody/content/${escape(type)}/schema`, value);
  }
  for (const [status, answer] of Object.entries(source.responses)) {
    if (status === "default") continue;
    for (const [type, media] of Object.entries(answer.content)) {
      for (const { value } of Object.values(media.examples ?? {})) {
        check(`responses/${status}/content/${escape(type)}/schema`, value);
      }
    }
  }
  expect(examples).toBeGreaterThan(source.parameters.length);
});

test("a field that the document does not know is found, and so is one that is missing, in an object in a list, too", () => {
  const user = emptyOf(userSchema);
  const list = (each: object) => ({
    status_code: 0,
    status_msg: "",
    user_list: [each],
    next_cursor: 0,
    has_more: false,
  });
  const pointer = "/components/schemas/RelationFollowListAnswer";
  expect(problemsAt(pointer, list(user))).toEqual([]);
  expect(problemsAt(pointer, list({ ...user, password: "x" }))).toHaveLength(1);
  expect(problemsAt(pointer, { ...list(user), more: 1 })).toHaveLength(1);
  const { name: _name, ...nameless } = user;
  expect(problemsAt(pointer, list(nameless))).not.toEqual([]);
  expect(problemsAt(pointer, list({ ...user, id: -1 }))).toHaveLength(1);
});

test("the document's reusable schemas have the names that clients know them by", () => {
  expect(Object.keys(document.components.schemas)).toEqual(
    expect.arrayContaining(["Envelope", "User", "Video", "Comment", "Message", "FriendUser"]),
  );
});
