-- What changed of a group, after group.lua. KEYS: 2 the topics published to lately. ARGV: 3 for how many ms
-- back, 4 at most so many.
local epoch, since = group()
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', digits(now - 60000))
local lately = redis.call('ZRANGE', KEYS[2], '+inf', digits(now - tonumber(ARGV[3])), 'BYSCORE', 'REV',
  'LIMIT', '0', ARGV[4])
return { epoch, digits(now - since), lately }
