-- What changed of a group. KEYS: 1 its epoch, 2 the topics published to lately. ARGV: 1 and 2 as in
-- enter.lua, 3 for how many ms back, 4 at most so many.
local function digits(number) return string.format('%.0f', number) end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local is = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local was = redis.call('HMGET', KEYS[1], 'replid', 'epoch', 'since')
local epoch, since = was[2], tonumber(was[3] or '')
if was[1] ~= is or not epoch or not since then
  epoch, since = ARGV[2], now
  redis.call('HSET', KEYS[1], 'replid', is, 'epoch', epoch, 'since', digits(now))
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', digits(now - 60000))
local lately = redis.call('ZRANGE', KEYS[2], '+inf', digits(now - tonumber(ARGV[3])), 'BYSCORE', 'REV',
  'LIMIT', '0', ARGV[4])
return { epoch, digits(now - since), lately }
