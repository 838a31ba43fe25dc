-- Begins a group of a deployment that is new, as of long ago: nothing is in flight from before. KEYS: 1 its
-- epoch. ARGV: 1 and 2 as in enter.lua, 3 ms ago. A group that is there stays as it is.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return
end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local is = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
redis.call('HSET', KEYS[1], 'replid', is, 'epoch', ARGV[2], 'since',
  string.format('%.0f', now - tonumber(ARGV[3])))
