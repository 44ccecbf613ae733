import { createBoundedMap } from "./bounded-map.ts";

/** Of an address, a user or an account name: what stands for it in keys that are kept outside. */
export type Pseudonym = (text: string) => Promise<string>;

const mostRemembered = 10_000;
const bytes = 16;

/**
 * HMAC-SHA-256, cut to 128 bits: without the secret nobody finds out whom a key is about, not even by trying all addresses.
 *
 * @param secret one that all locations share.
 */
export function createPseudonyms(secret: string): Pseudonym {
  /** Data, not promises: on Workers no request may wait for what another has begun. */
  const remembered = createBoundedMap<string, string>(mostRemembered);
  let key: CryptoKey | undefined;
  const encoder = new TextEncoder();

  return async (text) => {
    const known = remembered.get(text);
    if (known !== undefined) return known;
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    key ??= await crypto.subtle.importKey("raw", encoder.encode(`pseudonyms ${secret}`), algorithm, false, ["sign"]);
    const digest = new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(text)));
    const made = Array.from(digest.subarray(0, bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
    remembered.set(text, made);
    return made;
  };
}
