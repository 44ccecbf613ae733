/** 2024-01-01T00:00:00Z in milliseconds: time zero of our ids. */
export const idEpoch = 1_704_067_200_000;

const sequenceBits = 7;
const nodeBits = 5;
const maxSequence = 2 ** sequenceBits - 1;
const maxNode = 2 ** nodeBits - 1;
const millisecond = 2 ** (sequenceBits + nodeBits);

/**
 * Makes ids of 53 bits, so that every JSON client holds them exactly: 41 bits of milliseconds since {@link idEpoch}, 5 of
 * node, 7 of sequence. Ids of one generator strictly increase: more than 128 in a millisecond borrow from the next one, and a
 * clock that steps back is ignored until it has caught up.
 *
 * @param node 0 to 31, different for every process that writes to the same database at the same time.
 */
export function createIdGenerator(node: number, now: () => number = Date.now): () => number {
  if (!Number.isInteger(node) || node < 0 || node > maxNode) {
    throw new RangeError(`node must be a whole number from 0 to ${maxNode}, not ${node}`);
  }
  let lastTime = 0;
  let sequence = 0;
  return () => {
    const time = now() - idEpoch;
    if (time > lastTime) {
      lastTime = time;
      sequence = 0;
    } else if (++sequence > maxSequence) {
      lastTime++;
      sequence = 0;
    }
    return lastTime * millisecond + node * 2 ** sequenceBits + sequence;
  };
}

/** The smallest id that can be made at a time, given in milliseconds since 1970. */
export function firstIdAt(time: number): number {
  return Math.max(0, time - idEpoch) * millisecond;
}

/** When an id was made, in milliseconds since 1970. */
export function idTime(id: number): number {
  return Math.floor(id / millisecond) + idEpoch;
}
