/** What is drawn as nothing: joiners, variation selectors, zero-width spaces, fillers, marks of annotations. */
const undrawn = /[\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]/gu;

/**
 * What of a username must be unique: names that differ only in letter case, in white space around them, in characters that nobody sees or
 * in a compatible form of the same characters (Unicode's NFKC) are one name.
 */
export function nameKeyOf(username: string): string {
  return username.normalize("NFC").replace(undrawn, "").trim().normalize("NFKC").toLowerCase().trim();
}
