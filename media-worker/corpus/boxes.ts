/** A box of an MP4 (ISO 14496-12, 4.2), with its place in the file. */
export interface Box {
  type: string;
  offset: number;
  size: number;
}

/** Boxes that lie beside each other between two offsets. */
export function boxesOf(bytes: Uint8Array, from = 0, to = bytes.length): Box[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Box[] = [];
  for (let offset = from; offset + 8 <= to;) {
    const size = view.getUint32(offset);
    const type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    if (size < 8) break;
    found.push({ type, offset, size });
    offset += size;
  }
  return found;
}

/** A box inside others, by its path: the first of each type. */
export function boxAt(bytes: Uint8Array, path: string): Box {
  let within: Box = { type: "", offset: -8, size: bytes.length + 8 };
  for (const type of path.split("/")) {
    const found = boxesOf(bytes, within.offset + 8, within.offset + within.size).find((one) => one.type === type);
    if (!found) throw new Error(`there is no box ${path}`);
    within = found;
  }
  return within;
}

/** Writes 32 bits into a box, so many bytes behind its beginning. */
export function patch(bytes: Uint8Array, path: string, at: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(boxAt(bytes, path).offset + at, value);
}

/** A box with a content. */
export function box(type: string, content: Uint8Array | string = ""): Buffer {
  const body = Buffer.from(content);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length);
  head.write(type, 4, "latin1");
  return Buffer.concat([head, body]);
}
