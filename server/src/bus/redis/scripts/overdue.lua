-- Lends what should have ended. KEYS: 1 what is pending by when it is due, 2 since when. ARGV: 1 the time
-- in ms (empty: the server's), 2 at most so many.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local answer = {}
local due = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', '0', ARGV[2])
for _, operation in ipairs(due) do
  local began = tonumber(redis.call('HGET', KEYS[2], operation) or '') or now
  local age = now - began
  local again = now + math.min(60000, math.max(7000, age))
  redis.call('ZADD', KEYS[1], string.format('%.0f', again), operation)
  answer[#answer + 1] = { operation, string.format('%.0f', age) }
end
return answer
