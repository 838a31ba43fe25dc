-- Publishes what became of an overdue operation. KEYS and ARGV as of publish.lua, and ARGV 16 the
-- message that the nonce's row names, or nothing; 17 and 18 what stands before and after the message in
-- an operation with this nonce.
local topic = load(false)
local kind, operation, id = ARGV[10], ARGV[11], ARGV[13]
local tells_deleted = ARGV[15] == '1'
if tells_deleted then
  redis.call('SET', KEYS[8], '1', 'EX', MARK_S)
end
if ARGV[12] ~= topic.epoch then
  return { 'forgotten', topic.epoch, digits(topic.seq) }
end
if redis.call('HEXISTS', KEYS[7], operation) == 0 then
  return { 'ended', topic.epoch, digits(topic.seq) }
end
if kind == 'c' and KEYS[9] and not tells_deleted then
  local has = holder(KEYS[9], topic.epoch)
  if not has then
    has = (ARGV[16] ~= '') and ARGV[16] or id
    hold(KEYS[9], topic.epoch, has, '-')
    local other = ARGV[17] .. has .. ARGV[18]
    if has ~= id and redis.call('HEXISTS', KEYS[7], other) == 0 then begin(other) end
  end
  if has ~= id then
    return { 'taken', topic.epoch, digits(topic.seq), has }
  end
end
if not tells_deleted and redis.call('EXISTS', KEYS[8]) == 1 then
  finish(operation)
  return { 'deleted', topic.epoch, digits(topic.seq) }
end
if topic.m and ARGV[14] > topic.m then topic.m = ARGV[14] end
finish(operation)
topic.seq = topic.seq + 1
append(topic, ARGV[7], ARGV[8], ARGV[9])
return { 'published', topic.epoch, digits(topic.seq) }
