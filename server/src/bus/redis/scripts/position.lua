-- The topic's position now. ARGV: 7 whether the store numbers it.
local topic = load(ARGV[7] == '1')
if not topic then return { '0', '0' } end
redis.call('PEXPIRE', KEYS[2], DAY_MS)
return { topic.epoch, digits(topic.seq) }
