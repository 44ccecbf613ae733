/** The file is at fault, and trying again cannot help. The message is a sentence for whoever uploaded it: no paths, no jargon. */
export class BadUpload extends Error {
  override name = "BadUpload";
}
