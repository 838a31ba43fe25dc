-- Publishes an event, which may end an operation. KEYS: 6 and 7 what is pending, 8 the message's mark
-- of the deleted, 9 its nonce, if it has one. ARGV: 7 meta, 8 payload, 9 the frame's size, 10 the
-- operation's kind or nothing, 11 the operation, 12 its epoch, 13 the message's id, 14 the highest id or
-- revision, 15 whether it tells that the message is deleted.
local topic = load(false)
local kind, operation = ARGV[10], ARGV[11]
local tells_deleted = ARGV[15] == '1'
if tells_deleted then
  redis.call('SET', KEYS[8], '1', 'EX', MARK_S)
end
if kind ~= '' then
  if ARGV[12] ~= topic.epoch then
    begin(operation)
    return { 'refused', topic.epoch, digits(topic.seq) }
  end
  if not tells_deleted and redis.call('EXISTS', KEYS[8]) == 1 then
    finish(operation)
    return { 'deleted', topic.epoch, digits(topic.seq) }
  end
  local began = tonumber(redis.call('HGET', KEYS[7], operation) or '')
  if kind == 'c' and KEYS[9] and holder(KEYS[9], topic.epoch) ~= ARGV[13] then
    -- Since when it is pending stays as it was.
    if not began then begin(operation) end
    return { 'refused', topic.epoch, digits(topic.seq) }
  end
  if not began then
    return { 'ended', topic.epoch, digits(topic.seq) }
  end
  if now - began > OLD_MS then
    return { 'refused', topic.epoch, digits(topic.seq) }
  end
  if topic.m and ARGV[14] > topic.m then topic.m = ARGV[14] end
  finish(operation)
end
topic.seq = topic.seq + 1
append(topic, ARGV[7], ARGV[8], ARGV[9])
return { 'published', topic.epoch, digits(topic.seq) }
