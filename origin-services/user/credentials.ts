import { nameKeyOf } from "@flick/platform/name-key.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { isVisible } from "../text.ts";

const maxLength = 32;
const minPasswordLength = 6;
/** Some single characters become 18 under NFKC: what the column holds at most. */
const maxKeyLength = 255;

/**
 * Checks a username (1 to 32 characters, white space around it dropped, no control characters in it) and a password (6 to 32
 * characters). `nameKey` is what must be unique, see {@link nameKeyOf}.
 *
 * @throws INVALID_PARAMETER naming the field and its limit.
 */
export function readCredentials(input: { username: string; password: string }): {
  name: string;
  nameKey: string;
  password: string;
} {
  const name = input.username.normalize("NFC").trim();
  const nameKey = nameKeyOf(input.username);
  if (!isVisible(name) || !nameKey) throw bad("username: is missing");
  if (Array.from(name).length > maxLength || nameKey.length > maxKeyLength)
    throw bad(`username: at most ${maxLength} characters`);
  // Control characters, unpaired surrogates, unassigned code points, line separators and marks that only turn the text's direction.
  if (/[\p{Cc}\p{Cs}\p{Cn}\p{Co}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/u.test(name)) {
    throw bad("username: has characters that cannot be shown");
  }
  const { password } = input;
  const length = Array.from(password).length;
  if (!password) throw bad("password: is missing");
  if (length < minPasswordLength || length > maxLength) {
    throw bad(`password: from ${minPasswordLength} to ${maxLength} characters`);
  }
  return { name, nameKey, password };
}

const bad = (message: string) => flickError(Reason.INVALID_PARAMETER, message);
