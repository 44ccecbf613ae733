import { expect, test } from "bun:test";

import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { createLocalTransport } from "./local-transport.ts";
import { createTestServices, type TestServices } from "./testing.ts";

function transportTo(
  services: TestServices,
  addHeaders = (_header: Headers): Promise<void> => Promise.resolve(),
): Transport {
  return createLocalTransport({ ...services, addHeaders, timeoutMs: 20_000 });
}

test("adds the program's own headers to a call's, and not to the object that the call came with", async () => {
  const services = createTestServices();
  let seen = new Headers();
  services.answer({ setFavorite: (_request, { requestHeader }) => ((seen = requestHeader), {}) });
  const transport = transportTo(services, async (header) => header.set("x-program", "test"));
  const headers = new Headers({ "x-mine": "m" });
  await createClient(FavoriteService, transport).setFavorite({}, { headers });
  expect([seen.get("x-program"), seen.get("x-mine")]).toEqual(["test", "m"]);
  expect([...headers]).toEqual([["x-mine", "m"]]);
});

test("knows the services of this process only", async () => {
  const transport = transportTo(createTestServices());
  const comments = createClient(CommentService, transport);
  await expect(comments.createComment({})).rejects.toMatchObject({ code: Code.Unimplemented });
});

test("keeps the cause of what nobody has logged yet", async () => {
  const services = createTestServices();
  const cause = new Error("nothing catches this");
  services.answer({ batchGetUsers: () => Promise.reject(cause) });
  const error: unknown = await createClient(UserService, transportTo(services))
    .batchGetUsers({})
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConnectError);
  expect(error).toMatchObject({ rawMessage: "internal error", cause });
});
