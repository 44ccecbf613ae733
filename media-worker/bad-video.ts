/** The file is at fault, and trying again cannot help. The message is a sentence for its author: no paths, no jargon. */
export class BadVideo extends Error {
  override name = "BadVideo";
}
