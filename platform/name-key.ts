/**
 * What of a username must be unique: names that differ only in letter case, in white space around them or in a compatible form of the same
 * characters (Unicode's NFKC) are one name.
 */
export function nameKeyOf(username: string): string {
  return username.normalize("NFC").trim().normalize("NFKC").toLowerCase().trim();
}
