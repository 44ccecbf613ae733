const largest = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * An id of a request as we keep ids. What has more than 53 bits was not made by us and cannot be told from its neighbours as a number: it becomes -1,
 * which nothing has for its id.
 */
export const toId = (id: bigint): number => (id <= largest && id >= -largest ? Number(id) : -1);
