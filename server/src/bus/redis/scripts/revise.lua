-- Reserves a revision. KEYS: 6 and 7 what is pending, 8 the message's mark of the deleted. ARGV: 7 the
-- revision offered, 8 its ms, 9 the epoch in which the store was asked, 10 the newest id, 11 the
-- operation, 12 whether it is a delete.
local topic = load(false)
if not topic.m and ARGV[9] ~= topic.epoch then
  return { 'look', topic.epoch }
end
local refusal = refused(topic, ARGV[7], tonumber(ARGV[8]), ARGV[10])
if refusal then return refusal end
if ARGV[12] == '1' then redis.call('SET', KEYS[8], '1', 'EX', MARK_S) end
begin(ARGV[11])
keep(topic)
return { 'new', topic.epoch, digits(now) }
