-- How every script of a topic begins, after group.lua. KEYS: 2 the topic, 3 its ring, 4 the topics published
-- to lately, 5 its Pub/Sub channel. ARGV: 3 to 5 what a ring keeps: events, bytes, ms; 6 the topic's name.
-- `tells`, set before: whether subscribers are told here; else whoever called tells them.
-- Ids are strings of 19 digits: numbers lose digits above 2^53.
local DAY_MS = 86400000
-- What was in flight when an epoch began is over after this.
local SETTLED_MS = 10000
local NONCE_MS = 600000
local MARK_S = 600
-- An operation without an end is looked after from then on.
local OVERDUE_MS = 7000
-- Nobody goes on with an operation this old: whoever began it was frozen.
local OLD_MS = 10000

local function keep(topic)
  local fields = { 'group', topic.group, 'epoch', topic.epoch, 'seq', digits(topic.seq),
    'gap', topic.gap, 'bytes', digits(topic.bytes) }
  if topic.m then fields[11], fields[12] = 'm', topic.m end
  redis.call('HSET', KEYS[2], unpack(fields))
  redis.call('PEXPIRE', KEYS[2], DAY_MS)
end

-- Told to subscribers and to whoever compares positions: events may be missing.
local function dirty()
  redis.call('ZADD', KEYS[4], digits(now), ARGV[6])
  if tells then redis.call('SPUBLISH', KEYS[5], 'D') end
end

-- The topic; nil for one that isn't there and `numbered` by the store.
local function load(numbered)
  local epoch, since = group()
  local was = redis.call('HMGET', KEYS[2], 'group', 'epoch', 'seq', 'm', 'gap', 'bytes')
  if was[1] == epoch then
    local topic = { group = epoch, since = since, epoch = was[2], seq = tonumber(was[3]),
      m = was[4], gap = was[5], bytes = tonumber(was[6]) }
    if topic.gap == '0' and now - since >= SETTLED_MS then
      -- Whoever holds a position of before shall read the store once more.
      redis.call('DEL', KEYS[3])
      topic.seq, topic.gap, topic.bytes = topic.seq + 1, '1', 0
      keep(topic)
      dirty()
    end
    return topic
  end
  redis.call('DEL', KEYS[2], KEYS[3])
  if numbered then
    return nil, epoch, since
  end
  local topic = { group = epoch, since = since, epoch = ARGV[2], seq = 0, m = false, bytes = 0,
    gap = (now - since >= SETTLED_MS) and '1' or '0' }
  keep(topic)
  return topic
end

-- Lets go of what the ring no longer keeps.
local function trim(topic)
  local events, bytes, age = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local count = redis.call('XLEN', KEYS[3])
  while count > 0 do
    local first = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', '1')[1]
    local at, size = tonumber(first[2][2]), tonumber(first[2][4])
    if count <= events and topic.bytes <= bytes and now - at < age then
      return
    end
    redis.call('XDEL', KEYS[3], first[1])
    topic.bytes = topic.bytes - size
    count = count - 1
  end
  topic.bytes = 0
end

-- Appends an event at the topic's position, and tells it. What is too old goes with every 16th one, and
-- before anybody reads.
local function append(topic, meta, payload, size)
  local seq = digits(topic.seq)
  redis.call('XADD', KEYS[3], seq .. '-0', 't', digits(now), 'b', size, 'm', meta, 'd', payload)
  local count = redis.call('XLEN', KEYS[3])
  topic.bytes = (count == 1 and 0 or topic.bytes) + tonumber(size)
  if count > tonumber(ARGV[3]) or topic.bytes > tonumber(ARGV[4]) or topic.seq % 16 == 0 then
    trim(topic)
  end
  keep(topic)
  redis.call('PEXPIRE', KEYS[3], tonumber(ARGV[5]) + 60000)
  redis.call('ZADD', KEYS[4], digits(now), ARGV[6])
  if tells then
    redis.call('SPUBLISH', KEYS[5], 'E' .. topic.epoch .. ' ' .. seq .. ' ' .. meta .. '\n' .. payload)
  end
end

-- The message that has a nonce in this epoch, and the hash of its content.
local function holder(key, epoch)
  local value = redis.call('GET', key)
  if not value then return nil end
  local of, id, hash, at = string.match(value, '^(%S+) (%S+) (%S+) (%S+)$')
  if of ~= epoch or now - tonumber(at) >= NONCE_MS then return nil end
  return id, hash
end

local function hold(key, epoch, id, hash)
  local value = epoch .. ' ' .. id .. ' ' .. hash .. ' ' .. digits(now)
  redis.call('SET', key, value, 'PX', digits(NONCE_MS))
end

-- KEYS 6 and 7: operations that have not ended, by when they are due, and since when.
local function begin(operation, since)
  redis.call('HSET', KEYS[7], operation, digits(since or now))
  redis.call('ZADD', KEYS[6], digits(now + OVERDUE_MS), operation)
end

-- Goes on with an operation that another one began, if it is pending or `anyway`: later than it began, so
-- that whoever began it doesn't give it back any more (end.lua). Whether it was pending.
local function join(operation, anyway)
  local since = tonumber(redis.call('HGET', KEYS[7], operation) or '')
  if since or anyway then begin(operation, math.max(now, (since or 0) + 1)) end
  return since ~= nil
end

local function finish(operation)
  redis.call('HDEL', KEYS[7], operation)
  redis.call('ZREM', KEYS[6], operation)
end

-- Whether a new id can't be taken, and why.
local function refused(topic, id, id_ms, newest)
  local floor = topic.m or newest
  if id <= floor then
    return { 'low', topic.epoch, floor }
  end
  -- Above all that clocks may have given out before the memory was lost.
  if not topic.m and id_ms <= topic.since + 2000 then
    return { 'early', topic.epoch, digits(topic.since + 2000) }
  end
  local latest = math.max(now + 2000, topic.since + 4000)
  if id_ms > latest then
    return { 'ahead', topic.epoch, digits(id_ms - latest) }
  end
  topic.m = id
  return nil
end
