-- How far a channel's sends have ended. KEYS: 6 and 7 what is pending. ARGV: 7 how its sends begin among what is
-- pending. Answers the epoch, the highest id reserved and the lowest one pending, each empty for none; or
-- nothing, if it isn't known.
local LOOKED_AT_MAX = 1000
local topic, epoch, since = load(true)
if now - (topic and topic.since or since) < SETTLED_MS or redis.call('HLEN', KEYS[7]) > LOOKED_AT_MAX then
  return {}
end
local lowest = ''
for _, operation in ipairs(redis.call('HKEYS', KEYS[7])) do
  if string.sub(operation, 1, #ARGV[7]) == ARGV[7] then
    local id = string.sub(operation, #ARGV[7] + 1, #ARGV[7] + 19)
    if lowest == '' or id < lowest then lowest = id end
  end
end
return { topic and topic.epoch or epoch, topic and topic.m or '', lowest }
