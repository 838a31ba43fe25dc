-- Begins a group of a deployment that is new, as of long ago: nothing is in flight from before. After
-- group.lua. ARGV: 3 ms ago. A group that is there stays as it is.
if redis.call('EXISTS', KEYS[1]) == 0 then
  begin_group(replid(), now - tonumber(ARGV[3]))
end
