-- Lends what should have ended, after now.lua. KEYS: 1 what is pending by when it is due, 2 since when.
-- ARGV: 2 at most so many.
local answer = {}
local due = redis.call('ZRANGE', KEYS[1], '-inf', digits(now), 'BYSCORE', 'LIMIT', '0', ARGV[2])
for _, operation in ipairs(due) do
  local began = tonumber(redis.call('HGET', KEYS[2], operation) or '') or now
  local age = now - began
  local again = now + math.min(60000, math.max(7000, age))
  redis.call('ZADD', KEYS[1], digits(again), operation)
  answer[#answer + 1] = { operation, digits(age) }
end
return answer
