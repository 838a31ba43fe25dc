-- Ends an operation of which nothing was written. KEYS: 1 and 2 what is pending, 3 its nonce, or nothing,
-- 4 its mark of the deleted. ARGV: 1 the operation, 2 the message, 3 whether it is marked as deleted, 4 when
-- it began, or nothing: if somebody else went on with it since, it stays.
if ARGV[4] ~= '' and redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[4] then return 'OK' end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[3] == '1' then redis.call('SET', KEYS[4], '1', 'EX', 600) end
local value = redis.call('GET', KEYS[3])
if value and string.match(value, '^%S+ (%S+)') == ARGV[2] then redis.call('DEL', KEYS[3]) end
return 'OK'
