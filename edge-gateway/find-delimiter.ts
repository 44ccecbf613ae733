/**
 * Finds where a delimiter begins in some bytes, or -1. Nothing of the runtimes' own looks for more than one element of an array, and a
 * loop over every byte of a video costs more than all else that is done with it. So the runtime looks for four bytes of the
 * delimiter at once: wherever it stands, there is a whole aligned word in it, one of four.
 */
export function createFinder(delimiter: Uint8Array): (bytes: Uint8Array) => number {
  const anchors = chooseAnchors(delimiter);

  return (bytes) => {
    if (bytes.length < delimiter.length) return -1;
    if (startsWith(bytes, 0, delimiter)) return 0;
    if (anchors.length === 0) return findByFirstByte(bytes, delimiter);
    const aligned = (wordBytes - (bytes.byteOffset % wordBytes)) % wordBytes;
    let best = -1;
    for (const { word, offsets } of anchors) {
      // Of interest is what begins before the best so far.
      const end = best < 0 ? bytes.length : best + delimiter.length;
      const count = Math.floor((end - aligned) / wordBytes);
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset + aligned, count);
      best = nearest(
        best,
        findAnchor(words, word, (at) => firstMatch(bytes, aligned + at * wordBytes, offsets)),
      );
    }
    return best;
  };

  function firstMatch(bytes: Uint8Array, at: number, offsets: readonly number[]): number {
    const offset = offsets.find((each) => at >= each && startsWith(bytes, at - each, delimiter));
    return offset === undefined ? -1 : at - offset;
  }
}

/** How many bytes at the end may be the beginning of a delimiter. */
export function heldBack(bytes: Uint8Array, delimiter: Uint8Array): number {
  const [first = 0] = delimiter;
  let at = bytes.indexOf(first, Math.max(0, bytes.length - delimiter.length + 1));
  while (at >= 0 && !startsWith(delimiter, 0, bytes.subarray(at))) at = bytes.indexOf(first, at + 1);
  return at < 0 ? 0 : bytes.length - at;
}

const wordBytes = 4;

/** A word of the delimiter, and where in it: places that differ in their alignment. */
interface Anchor {
  word: number;
  offsets: number[];
}

/** As few as there can be: each is looked for by itself. None when the delimiter is too short to have a word for each alignment. */
function chooseAnchors(delimiter: Uint8Array): Anchor[] {
  const byWord = new Map<number, Map<number, number>>();
  for (let offset = 0; offset + wordBytes <= delimiter.length; offset++) {
    const [word = 0] = new Uint32Array(Uint8Array.from(delimiter.subarray(offset, offset + wordBytes)).buffer);
    const places = byWord.get(word) ?? new Map<number, number>();
    byWord.set(word, places.set(offset % wordBytes, offset));
  }
  const anchors: Anchor[] = [];
  const covered = new Set<number>();
  const isNew = ([alignment]: [number, number]) => !covered.has(alignment);
  const news = (places: Map<number, number>) => [...places].filter(isNew);
  while (covered.size < wordBytes) {
    const [best] = [...byWord].toSorted(([, a], [, b]) => news(b).length - news(a).length);
    const fresh = best ? news(best[1]) : [];
    if (!best || fresh.length === 0) return [];
    anchors.push({ word: best[0], offsets: fresh.map(([, offset]) => offset) });
    for (const [alignment] of fresh) covered.add(alignment);
  }
  return anchors;
}

function findAnchor(words: Uint32Array, word: number, match: (at: number) => number): number {
  for (let at = words.indexOf(word); at >= 0; at = words.indexOf(word, at + 1)) {
    const found = match(at);
    if (found >= 0) return found;
  }
  return -1;
}

function findByFirstByte(bytes: Uint8Array, delimiter: Uint8Array): number {
  const [first = 0] = delimiter;
  let at = bytes.indexOf(first);
  while (at >= 0 && !startsWith(bytes, at, delimiter)) at = bytes.indexOf(first, at + 1);
  return at;
}

function startsWith(bytes: Uint8Array, at: number, beginning: Uint8Array): boolean {
  if (at + beginning.length > bytes.length) return false;
  for (let index = 0; index < beginning.length; index++) {
    if (bytes[at + index] !== beginning[index]) return false;
  }
  return true;
}

const nearest = (a: number, b: number) => (a < 0 || (b >= 0 && b < a) ? b : a);
