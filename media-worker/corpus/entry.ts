/** A file of the corpus: how it is made, and what has to become of it. */
export interface Entry {
  /** Its name as a user might give it; on disk, bytes that no file name can hold are left out. */
  name: string;
  /** Makes it, under a path without spaces in a folder of its own. */
  make: (place: Place) => Promise<void>;
  expect: Ready | Failed;
  /** Among those that run with every test. */
  fast: boolean;
}

/** Where an entry is made. */
export interface Place {
  dir: string;
  /** The file to write, relative to the folder. */
  file: string;
  /** Runs FFmpeg in the folder. @param args with one space between them; what holds spaces itself has them as `§`. */
  ffmpeg(args: string): Promise<void>;
  /** A server that must not see any request. */
  bait: string;
}

export interface Ready {
  outcome: "ready";
  /** Sizes of the renditions, narrowest first. */
  renditions: string[];
  durationMs: number;
  /** Is there sound? `level`: as loud as all others; `present`: too quiet or short for that. */
  sound: "level" | "present" | "none";
  /** The four colours lie in their corners: red and green above, blue and white below. */
  upright?: boolean | undefined;
  /** Flash and beep come together, so many milliseconds after the beginning. */
  flashMs?: number | undefined;
  /** What has to be taken over as it came. */
  copied?: ("picture" | "sound")[] | undefined;
  /** Pictures a second, at most. */
  maxFps?: number | undefined;
  /** No rendition may take more bytes than the file itself, or hardly more. */
  grows?: false | undefined;
  /** Allowed beside the usual 50 ms or one picture, where a source says no better itself. */
  durationSlackMs?: number | undefined;
}

export interface Failed {
  outcome: "failed";
  /** A part of the sentence for the author. */
  reason: string;
}
