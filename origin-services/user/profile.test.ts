import { describe, expect, test } from "bun:test";

import { withExif } from "@flick/media-worker/testing-images.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { outcome as outcomeOf } from "../testing-data.ts";
import { form, pictures, setUpProfileTests } from "../testing-profile.ts";

const t = setUpProfileTests();

describe("a new profile", () => {
  test("has its text at once and its pictures when they are ready, and the uploads are gone then", async () => {
    const { userId, token } = await t.origin.signUp();
    const before = await t.profileOf(userId, token);
    const body = form(["avatar", withExif(pictures.jpeg, 1)], ["background", pictures.png], ["signature", "Hello 👋"]);
    const answer = await t.update(body, token);
    expect(answer).toMatchObject({ id: BigInt(userId), signature: "Hello 👋", avatar: before.avatar });

    await t.work();
    const [avatar, background] = await t.images(userId);
    const after = await t.profileOf(userId, token);
    expect(after.avatar).toEndWith(`/users/${userId}/${avatar?.id}-avatar.jpg`);
    expect(after.backgroundImage).toEndWith(`/users/${userId}/${background?.id}-background.jpg`);
    for (const url of [after.avatar, after.backgroundImage]) {
      const bytes = Buffer.from(await (await fetch(url)).arrayBuffer());
      expect(bytes.subarray(0, 3).toString("hex")).toBe("ffd8ff");
      expect(bytes.includes("Exif")).toBe(false);
    }
    expect([avatar?.status, background?.status]).toEqual(["ready", "ready"]);
    expect(await t.origin.objects.head(avatar?.rawKey ?? "")).toBeNull();
    expect(await t.origin.objects.head(background?.rawKey ?? "")).toBeNull();
  });

  test("keeps what it was not sent", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["signature", "first"]), token);
    await t.update(form(["avatar", pictures.gif]), token);
    await t.work();
    expect(await t.profileOf(userId, token)).toMatchObject({
      signature: "first",
      avatar: expect.stringContaining(`/users/${userId}/`),
      backgroundImage: expect.stringContaining("/defaults/"),
    });
  });

  test("may be sent with the token behind the file, and with fields for files that were left empty", async () => {
    const { userId, token } = await t.origin.signUp();
    const body = form(["avatar", pictures.png], ["background", new Uint8Array(), ""], ["token", token]);
    expect(await t.update(body)).toMatchObject({ id: BigInt(userId) });
    expect(await t.images(userId)).toMatchObject([{ kind: "avatar", status: "uploaded" }]);
  });

  test("is kept out of everybody's reach until it is ready: the upload has a private key of its own", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["avatar", pictures.png]), token);
    const [image] = await t.images(userId);
    expect(image?.rawKey).toMatch(/^raw-images\/\d{16}-[0-9a-f]{32}$/);
    expect((await fetch(t.origin.objects.publicUrl(image?.rawKey ?? ""))).status).toBe(403);
  });
});

describe("a signature", () => {
  const ways: [string, (token: string, text: string) => Promise<string | undefined>][] = [
    [
      "by a form",
      async (token, text) => {
        const answer = await t.update(form(["signature", text]), token);
        return typeof answer === "object" ? answer.signature : answer;
      },
    ],
    [
      "by a call",
      (token, text) =>
        t.origin
          .as(token)
          .user.updateUser({ signature: text })
          .then(
            ({ user }) => user?.signature,
            (error: unknown) => Reason[reasonOf(error)],
          ),
    ],
  ];
  test.each(ways)("%s has up to 255 characters, and goes back to the default", async (_way, set) => {
    const { userId, token } = await t.origin.signUp();
    const standard = (await t.profileOf(userId, token)).signature;
    expect(await set(token, "🎬".repeat(255))).toBe("🎬".repeat(255));
    expect(await set(token, "  as written  ")).toBe("as written");
    for (const refused of ["🎬".repeat(256), "\u200B\u200D", "   "]) {
      expect(await set(token, refused)).toBe("INVALID_PARAMETER");
    }
    expect((await t.profileOf(userId, token)).signature).toBe("as written");
    expect(await set(token, "")).toBe(standard);
    expect((await t.profileOf(userId, token)).signature).toBe(standard);
  });

  test("that is not there changes nothing", async () => {
    const { token } = await t.origin.signUp();
    expect(await outcomeOf(t.origin.as(token).user.updateUser({}))).toBe("INVALID_PARAMETER");
  });
});

describe("an update is refused, and leaves nothing behind, when", () => {
  const large = Buffer.alloc(11_000_000);
  const cases: [what: string, make: () => FormData, reason: string][] = [
    ["the picture is none", () => form(["avatar", Buffer.from("no picture at all")]), "NOT_AN_IMAGE"],
    ["it is SVG", () => form(["avatar", Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>")]), "NOT_AN_IMAGE"],
    ["it is HTML by the name of a PNG", () => form(["background", Buffer.from("<!doctype html>")]), "NOT_AN_IMAGE"],
    ["it is empty", () => form(["avatar", new Uint8Array()]), "NOT_AN_IMAGE"],
    ["one of two is none", () => form(["avatar", pictures.png], ["background", Buffer.alloc(99)]), "NOT_AN_IMAGE"],
    ["it has 11 MB", () => form(["avatar", Buffer.concat([pictures.png, large])]), "TOO_LARGE"],
    ["there are two avatars", () => form(["avatar", pictures.png], ["avatar", pictures.png]), "INVALID_PARAMETER"],
    ["a file has another name", () => form(["data", pictures.png]), "INVALID_PARAMETER"],
    ["its text is too long", () => form(["avatar", pictures.png], ["signature", "x".repeat(256)]), "INVALID_PARAMETER"],
    ["its text cannot be seen", () => form(["signature", "\u200B"], ["avatar", pictures.png]), "INVALID_PARAMETER"],
    ["there is nothing in it", () => form(["avatar", new Uint8Array(), ""]), "INVALID_PARAMETER"],
  ];
  test.each(cases)("%s", async (_what, make, reason) => {
    const { token } = await t.origin.signUp();
    const before = [await t.rawObjects(), await t.rows()];
    expect(await t.update(make(), token)).toBe(reason);
    expect([await t.rawObjects(), await t.rows()]).toEqual(before);
  });

  test("nobody is signed in", async () => {
    const before = [await t.rawObjects(), await t.rows()];
    expect(await t.update(form(["avatar", pictures.png]))).toBe("UNAUTHENTICATED");
    expect(await t.update(form(["avatar", pictures.png]), "forged")).toBe("UNAUTHENTICATED");
    expect(await t.update(form(["avatar", pictures.png], ["token", "forged"]))).toBe("UNAUTHENTICATED");
    expect(await outcomeOf(t.origin.as().user.updateUser({ signature: "x" }))).toBe("UNAUTHENTICATED");
    expect([await t.rawObjects(), await t.rows()]).toEqual(before);
  });
});
