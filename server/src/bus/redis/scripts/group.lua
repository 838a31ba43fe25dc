-- What every script of a group begins with, after now.lua. KEYS: 1 the group's epoch. ARGV: 2 a random epoch,
-- should one be needed.

-- Begins the group's epoch; what else was known of it is gone.
local function begin_group(replid, since)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'replid', replid, 'epoch', ARGV[2], 'since', digits(since))
  return ARGV[2], since
end

local function replid()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end

-- The group's epoch, and since when. Memory that was, or may have been, lost shows as a new one: the
-- hash is missing, or the server was restarted or is another.
local function group()
  local is = replid()
  local was = redis.call('HMGET', KEYS[1], 'replid', 'epoch', 'since')
  if was[1] == is and was[2] and was[3] then
    return was[2], tonumber(was[3])
  end
  return begin_group(is, now)
end
