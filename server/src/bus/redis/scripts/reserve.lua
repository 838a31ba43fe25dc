-- Reserves an id and a nonce. KEYS: 6 and 7 what is pending, 8 the nonce, if there is one. ARGV: 7 the id
-- offered, 8 its ms, 9 the epoch that the caller names, 10 the epoch in which the store was asked, 11 the
-- id that the nonce's row names, 12 the newest id, 13 the content's hash, 14 and 15 what stands before
-- and after the message in the operation.
local topic = load(false)
local nonce, looked = KEYS[8], ARGV[10] == topic.epoch
if nonce then
  local id, hash = holder(nonce, topic.epoch)
  if id then
    local pending = join(ARGV[14] .. id .. ARGV[15], false)
    return { 'existing', topic.epoch, id, hash, pending and '1' or '0' }
  end
  if not looked and ARGV[9] ~= topic.epoch then
    return { 'look', topic.epoch }
  end
  if looked and ARGV[11] ~= '' then
    hold(nonce, topic.epoch, ARGV[11], '-')
    join(ARGV[14] .. ARGV[11] .. ARGV[15], true)
    return { 'existing', topic.epoch, ARGV[11], '-', '1' }
  end
end
if not topic.m and not looked then
  return { 'look', topic.epoch }
end
local refusal = refused(topic, ARGV[7], tonumber(ARGV[8]), ARGV[12])
if refusal then return refusal end
if nonce then hold(nonce, topic.epoch, ARGV[7], ARGV[13]) end
begin(ARGV[14] .. ARGV[7] .. ARGV[15])
keep(topic)
return { 'new', topic.epoch, digits(now) }
