/*
 * How the event log lies in Redis (7.0 or newer), and the steps on it that must be atomic.
 *
 * - The records of a topic are a stream; its consumer groups are the event log's groups, its consumers their members. A record
 *   that a member holds is in the group's list of pending entries, whose delivery counter is the attempt number.
 * - A record that waits for another attempt, or was given back, has left the pending list for the sorted set of retries:
 *   member `<id> <attempts so far>`, score the millisecond at which it is due. So waiting costs no member's memory, survives
 *   every restart, and holds up nobody.
 * - Whoever settles a record must still be the consumer that holds it (the `held` function below): a member that was away for
 *   too long has lost it to another and changes nothing any more.
 * - A member's name is `<process name>@<host>-<process id>-<random>-<random>`, without the `@` and what is before it where the
 *   process has no name that lasts; the first random part is of the event log, the second of the member.
 */
export const redisKeys = {
  stream: (topic: string) => `log::${topic}`,
  retries: (topic: string, group: string) => `log::${topic}::${group}::retries`,
  deadLetters: (topic: string) => redisKeys.stream(`${topic}.dlq`),
};

const nowMs = `
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`;

const held = `
local function held(stream, group, consumer, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  return pending and pending[2] == consumer
end
`;

/** All records or none: Redis runs nothing in between, and its append-only file holds a script's effects as one transaction. */
export const publishScript = `
-- KEYS: the streams. ARGV: longest length, then for each record the number of its stream, its key and its value.
for i = 2, #ARGV, 3 do
  redis.call('XADD', KEYS[tonumber(ARGV[i])], 'MAXLEN', '~', ARGV[1], '*', 'k', ARGV[i + 1], 'v', ARGV[i + 2])
end
`;

/**
 * Takes records that are due again, and those whose member has not touched them for too long.
 * Returns the entries, their attempt numbers, how many had been trimmed away meanwhile, and the millisecond (by Redis' clock) of
 * this step and of the next retry ('' if there is none).
 */
export const takeScript = `
-- KEYS: stream, retries. ARGV: group, consumer, most records, idle milliseconds of a lost member ('' takes over nothing).
${nowMs}
local now, most = nowMs(), tonumber(ARGV[3])
local entries, attempts, trimmed = {}, {}, 0
local function claim(id, attempt)
  local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', attempt, 'FORCE')[1]
  if entry then
    entries[#entries + 1] = entry
    attempts[#attempts + 1] = attempt
  else
    trimmed = trimmed + 1
  end
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, most)) do
  redis.call('ZREM', KEYS[2], member)
  local id, attempt = string.match(member, '^(%S+) (%d+)$')
  claim(id, attempt + 1)
end
if ARGV[4] ~= '' and #entries < most then
  for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], '-', '+', most - #entries)) do
    claim(pending[1], pending[4] + 1)
  end
end
return { entries, attempts, trimmed, now, redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or '' }
`;

/** Keeps records from being taken over; returns the ids that are still held. */
export const touchScript = `
-- KEYS: stream. ARGV: group, consumer, then ids.
${held}
local kept = {}
for i = 3, #ARGV do
  if held(KEYS[1], ARGV[1], ARGV[2], ARGV[i]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    kept[#kept + 1] = ARGV[i]
  end
end
return kept
`;

export const retryScript = `
-- KEYS: stream, retries. ARGV: group, consumer, id, attempts so far, milliseconds until the next.
${nowMs}
${held}
if held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[2], nowMs() + ARGV[5], ARGV[3] .. ' ' .. ARGV[4])
end
`;

export const buryScript = `
-- KEYS: stream, dead letters. ARGV: group, consumer, id, attempts, longest length, key, value, reason.
${nowMs}
${held}
if held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'k', ARGV[6], 'v', ARGV[7], 'group', ARGV[1],
    'attempts', ARGV[4], 'reason', ARGV[8], 'origin', ARGV[3], 'failedAt', string.format('%.0f', nowMs()))
end
`;

const giveBack = `
-- Moves what a consumer holds to the retries, due at once and in order. attemptsOf: how many to remember after so many deliveries;
-- nil leaves the record where it is. Returns how many it moved, and how many it left.
local function giveBack(stream, retries, group, consumer, attemptsOf)
  local due, from, moved, left = nowMs() - 1, '-', 0, 0
  repeat
    local pending = redis.call('XPENDING', stream, group, from, '+', 100, consumer)
    for _, entry in ipairs(pending) do
      local id, attempts = entry[1], attemptsOf(entry[4])
      if attempts then
        redis.call('XACK', stream, group, id)
        redis.call('ZADD', retries, due, id .. ' ' .. attempts)
        -- Members with equal scores would be ordered as text.
        due = due + 1 / 1024
        moved = moved + 1
      else
        left = left + 1
      end
      from = '(' .. id
    end
  until #pending == 0
  return moved, left
end
`;

const groupMembers = `
local function groupMembers(stream, group)
  local members = {}
  for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local member = {}
    for i = 1, #fields, 2 do member[fields[i]] = fields[i + 1] end
    members[#members + 1] = member
  end
  return members
end
`;

/** Gives back everything a member holds, without counting the attempt; then removes the member. */
export const leaveScript = `
-- KEYS: stream, retries. ARGV: group, consumer.
${nowMs}
${giveBack}
giveBack(KEYS[1], KEYS[2], ARGV[1], ARGV[2], function(deliveries) return math.max(0, deliveries - 1) end)
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
`;

/**
 * Gives back what members hold whose names begin with a process name and an @, but those of one event log; removes them when they hold
 * nothing any more. The attempt counts. A record that was delivered more than once stays until its member's time is up: it may be
 * what its members die of, and a process that dies again and again must not use up the attempts of all others in seconds.
 * Returns the number of records given back.
 */
export const succeedScript = `
-- KEYS: stream, retries. ARGV: group, process name, beginning of the names of the event log that is left alone.
${nowMs}
${giveBack}
${groupMembers}
local function onlyTheFirst(deliveries) return deliveries == 1 and 1 or nil end
local total = 0
for _, member in ipairs(groupMembers(KEYS[1], ARGV[1])) do
  local name = member['name']
  if string.match(name, '^(.*)@') == ARGV[2] and string.sub(name, 1, #ARGV[3]) ~= ARGV[3] then
    local moved, left = giveBack(KEYS[1], KEYS[2], ARGV[1], name, onlyTheFirst)
    -- With records it would take them along.
    if left == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name) end
    total = total + moved
  end
end
return total
`;

const groupInfo = `
local function groupInfo(stream, name)
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = {}
    for i = 1, #fields, 2 do group[fields[i]] = fields[i + 1] end
    if group['name'] == name then return group end
  end
end
`;

/**
 * Removes members that hold nothing and have not been heard of for long. Returns how many records were trimmed away before the
 * group read them, and counts them as read, so that the lag stays true.
 */
export const sweepScript = `
-- KEYS: stream. ARGV: group, idle milliseconds of a dead member.
${groupInfo}
${groupMembers}
for _, member in ipairs(groupMembers(KEYS[1], ARGV[1])) do
  if member['pending'] == 0 and member['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], member['name'])
  end
end
local group = groupInfo(KEYS[1], ARGV[1])
local lag, last = group['lag'], group['last-delivered-id']
if not lag or lag == 0 then return 0 end
local function any(from, to)
  return #redis.call('XRANGE', KEYS[1], from, to, 'COUNT', 1) > 0
end
local unread
if not any('-', last) then
  unread = redis.call('XLEN', KEYS[1])
elseif not any('(' .. last, '+') then
  unread = 0
else
  return 0
end
local trimmed = lag - unread
if trimmed > 0 then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], last, 'ENTRIESREAD', group['entries-read'] + trimmed)
end
return trimmed
`;

export const lagScript = `
-- KEYS: stream, retries. ARGV: group.
${groupInfo}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local length, group = redis.call('XLEN', KEYS[1]), groupInfo(KEYS[1], ARGV[1])
if not group then return length end
return math.min(group['lag'] or length, length) + group['pending'] + redis.call('ZCARD', KEYS[2])
`;

export const replayScript = `
-- KEYS: dead letters, stream. ARGV: most letters, longest length.
local letters = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
for _, letter in ipairs(letters) do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(letter[2], 1, 4))
  redis.call('XDEL', KEYS[1], letter[1])
end
return #letters
`;
