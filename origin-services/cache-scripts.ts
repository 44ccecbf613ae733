/*
 * The steps on the cache that must be atomic. KEYS are pairs: a cached key, and its lease.
 *
 * A reader that finds nothing takes the key's lease and may fill the key as long as the lease is its own. Whoever changes what the
 * key was made of deletes both in one command, and so a value that was read before the change cannot be stored after it.
 */

const orLease = `
local function orLease(lease, token, ms)
  return redis.call('SET', lease, token, 'NX', 'PX', ms) and 1 or 0
end
`;

/** For each key: its fields and values, or 1 when the lease is now the caller's, or 0 when it is somebody else's. */
export const readHashes = `
-- ARGV: token, milliseconds of a lease.
${orLease}
local replies = {}
for i = 1, #KEYS, 2 do
  local value = redis.call('HGETALL', KEYS[i])
  replies[#replies + 1] = #value > 0 and value or orLease(KEYS[i + 1], ARGV[1], ARGV[2])
end
return replies
`;

/** As {@link readHashes}, for strings: a list of the one string. */
export const readStrings = `
-- ARGV: token, milliseconds of a lease.
${orLease}
local replies = {}
for i = 1, #KEYS, 2 do
  local value = redis.call('GET', KEYS[i])
  replies[#replies + 1] = value and { value } or orLease(KEYS[i + 1], ARGV[1], ARGV[2])
end
return replies
`;

/** As {@link readHashes}, for sorted sets: the lowest member and its score, then members and scores of a range, highest first. */
export const readSortedSets = `
-- ARGV: token, milliseconds of a lease, upper bound, lower bound, most members.
${orLease}
local replies = {}
for i = 1, #KEYS, 2 do
  local reply = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  if #reply == 0 then
    reply = orLease(KEYS[i + 1], ARGV[1], ARGV[2])
  else
    local range = redis.call('ZREVRANGEBYSCORE', KEYS[i], ARGV[3], ARGV[4], 'WITHSCORES', 'LIMIT', 0, ARGV[5])
    for j = 1, #range do reply[#reply + 1] = range[j] end
  end
  replies[#replies + 1] = reply
end
return replies
`;

/** Stores values under the caller's leases, as far as they stand, and ends these. A key with no arguments stays empty. */
export const fill = `
-- ARGV: command that stores a value, then for each key: token, milliseconds to live, number of arguments, arguments.
local filled, at = 0, 2
for i = 1, #KEYS, 2 do
  local token, ttl, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if redis.call('GET', KEYS[i + 1]) == token then
    redis.call('DEL', KEYS[i], KEYS[i + 1])
    if count > 0 then
      redis.call(ARGV[1], KEYS[i], unpack(ARGV, at + 3, at + 2 + count))
      redis.call('PEXPIRE', KEYS[i], ttl)
      filled = filled + 1
    end
  end
  at = at + 3 + count
end
return filled
`;

/**
 * Adds a member to a sorted set that is there and goes down to it; in any case voids the lease. When there are too many, the lowest
 * go, and first of all the mark below them which says that nothing is missing.
 */
export const addToSortedSet = `
-- ARGV: score, member, most members, the mark.
redis.call('DEL', KEYS[2])
local lowest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #lowest == 0 then return end
if lowest[1] ~= ARGV[4] and tonumber(ARGV[1]) < tonumber(lowest[2]) then return end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local surplus = redis.call('ZCARD', KEYS[1]) - ARGV[3]
if surplus > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1) end
`;

/** Removes a member from a sorted set, and voids the lease. */
export const removeFromSortedSet = `
-- ARGV: member.
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
`;

/** Deletes a sorted set that lacks a member, and voids the lease: it is then made anew. */
export const deleteWithout = `
-- ARGV: member.
redis.call('DEL', KEYS[2])
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then redis.call('DEL', KEYS[1]) end
`;
