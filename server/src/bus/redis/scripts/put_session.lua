-- Remembers a session, unless it is marked as ended. KEYS: 1 the session. ARGV: 1 the time in ms, 2 what
-- is known of it.
local value = redis.call('GET', KEYS[1])
local ended = value and string.match(value, '^R(%d+)$')
if ended and tonumber(ARGV[1]) - tonumber(ended) < 60000 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', '25000')
return 1
