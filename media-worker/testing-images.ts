import { crc32, deflateSync } from "node:zlib";

/**
 * The same JPEG with an EXIF block that gives an orientation and a place on the Earth.
 *
 * @param orientation 1 upright, 3 upside down, 6 to be turned by 90° clockwise, 8 counterclockwise.
 */
export function withExif(jpeg: Buffer, orientation: number): Buffer {
  const tag = (id: number, type: number, count: number, value: Buffer) => {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(id, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt32BE(count, 4);
    return Buffer.concat([head, value]);
  };
  const long = (value: number) => Buffer.from([0, 0, value >> 8, value & 255]);
  const ifd = (...tags: Buffer[]) => Buffer.concat([Buffer.from([0, tags.length]), ...tags, long(0)]);
  const gpsAt = 8 + 2 + 2 * 12 + 4;
  const first = ifd(tag(0x0112, 3, 1, Buffer.from([0, orientation, 0, 0])), tag(0x8825, 4, 1, long(gpsAt)));
  const latitudeAt = gpsAt + 2 + 2 * 12 + 4;
  const gps = ifd(tag(1, 2, 2, Buffer.from("N\0\0\0")), tag(2, 5, 3, long(latitudeAt)));
  const latitude = Buffer.concat([47, 1, 22, 1, 1234, 100].map(long));
  const tiff = Buffer.concat([Buffer.from("MM\0*"), long(8), first, gps, latitude]);
  const exif = Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff]);
  const length = exif.length + 2;
  const app1 = Buffer.concat([Buffer.from([0xff, 0xe1, length >> 8, length & 255]), exif]);
  return Buffer.concat([jpeg.subarray(0, 2), app1, jpeg.subarray(2)]);
}

/** A black PNG of one bit a pixel: small as a file, large once it is decoded. */
export function blackPng(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    checksum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, checksum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 1;
  const pixels = deflateSync(Buffer.alloc(height * (1 + Math.ceil(width / 8))));
  const signature = Buffer.from("\x89PNG\r\n\x1A\n", "latin1");
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
}
