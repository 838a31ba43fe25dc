-- Carries an event that the store numbered. ARGV: 7 epoch, 8 seq, 9 meta, 10 payload, 11 the frame's
-- size, 12 whether it and those before it may not have been told: then nothing of it is remembered.
local topic, group_epoch, since = load(true)
local epoch, seq = ARGV[7], tonumber(ARGV[8])
if topic and topic.epoch == epoch and seq <= topic.seq then return 'known' end
if not topic then
  topic = { group = group_epoch, since = since, gap = '1', m = false, bytes = 0 }
elseif topic.epoch ~= epoch or seq ~= topic.seq + 1 or ARGV[12] == '1' then
  -- What is between was never heard: the store may have it, the ring doesn't.
  redis.call('DEL', KEYS[3])
  topic.bytes = 0
end
topic.epoch, topic.seq = epoch, seq
if ARGV[12] == '1' then
  keep(topic)
  dirty()
else
  append(topic, ARGV[9], ARGV[10], ARGV[11])
end
return 'told'
