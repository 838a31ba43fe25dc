-- The events after a position. ARGV: 7 whether the store numbers the topic, 8 epoch, 9 seq.
local topic = load(ARGV[7] == '1')
if not topic then return { 'gone', '0', '0' } end
local from = tonumber(ARGV[9])
local epoch, seq = topic.epoch, digits(topic.seq)
if ARGV[8] ~= epoch or from > topic.seq then return { 'gone', epoch, seq } end
trim(topic)
redis.call('HSET', KEYS[2], 'bytes', digits(topic.bytes))
if from == topic.seq then return { 'events', epoch, seq, {} } end
local events = redis.call('XRANGE', KEYS[3], digits(from + 1) .. '-0', '+')
if #events ~= topic.seq - from then return { 'gone', epoch, seq } end
local answer = {}
for _, event in ipairs(events) do
  answer[#answer + 1] = { string.match(event[1], '^%d+'), event[2][6], event[2][8], event[2][2] }
end
return { 'events', epoch, seq, answer }
