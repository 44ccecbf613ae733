import { createBoundedMap } from "./bounded-map.ts";
import type { Soon } from "./soon.ts";

/**
 * Of an address, a viewer or an account: what stands for it in keys that are kept outside.
 *
 * @param canonical what a name is short for, or another form of: all of its forms have one pseudonym.
 */
export type Pseudonym = (
  kind: "address" | "viewer" | "account",
  name: string,
  canonical?: (name: string) => string,
) => Soon<string>;

const mostRemembered = 20_000;
const bytes = 16;

/**
 * HMAC-SHA-256, cut to 128 bits: without the secret nobody finds out whom a key is about, not even by trying all addresses.
 *
 * @param secret one that all locations share.
 */
export function createPseudonyms(secret: string): Pseudonym {
  /** By what was asked for, canonical or not. Data, not promises: on Workers no request may wait for what another has begun. */
  const remembered = createBoundedMap<string, string>(mostRemembered);
  let key: CryptoKey | undefined;
  const encoder = new TextEncoder();

  async function make(text: string): Promise<string> {
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    key ??= await crypto.subtle.importKey("raw", encoder.encode(`pseudonyms ${secret}`), algorithm, false, ["sign"]);
    const digest = new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(text)));
    return Array.from(digest.subarray(0, bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  return (kind, name, canonical) => {
    const asked = `${kind} ${name}`;
    const known = remembered.get(asked);
    if (known !== undefined) return known;
    return make(canonical ? `${kind} ${canonical(name)}` : asked).then((made) => {
      remembered.set(asked, made);
      return made;
    });
  };
}
