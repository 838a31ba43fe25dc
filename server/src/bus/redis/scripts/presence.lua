-- One exchange of a node with a part of presence: it says what became of its sessions, and hears what it
-- asked. All changes of a part are numbered here, and told on one channel. After group.lua, which has the
-- part's epoch; what is known of another is gone.
-- KEYS: 1 the part's state, 2 which node is to say that which user is still here, by when; 3 the channel,
-- 4 and on the hashes of the users, in the order of `users`.
-- ARGV: 1 the time in ms (empty: the server's), 2 a random epoch, 3 what is said and asked, as JSON.
-- A user's hash: `n:NODE` the sessions that it has there, behind their version; `w:NODE` what is to be set
-- of them from elsewhere; `t` its words, behind the time when they were set; `a` when it was last active.
-- A session: status, credential, device, when it began, when it ended (0: it lives).
local LIVE_MS = 36000
local HASH_MS = 300000
local GONE_MS = 3600000
local QUIET_MS = 5000
local DAY_MS = 86400000
local DUE_MAX = '64'
local INVISIBLE = 1

local said = cjson.decode(ARGV[3])
local hash = {}
for i, user in ipairs(said.users) do hash[user] = KEYS[3 + i] end

local epoch, since = group()
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
redis.call('PEXPIRE', KEYS[1], DAY_MS)
-- What is only written again in a new epoch isn't told: all who listen read it when that is over.
local quiet = said.known ~= '' and said.known ~= epoch and now - since < QUIET_MS

local changes, pokes = {}, {}
local answer = { e = epoch }
local function add(list, value)
  answer[list] = answer[list] or {}
  table.insert(answer[list], value)
end

local function load(user)
  local all = redis.call('HGETALL', hash[user])
  local known = { nodes = {}, text = '', active = '0' }
  for i = 1, #all, 2 do
    local kind, node = string.match(all[i], '^(%a):?(.*)$')
    if kind == 'n' then
      known.nodes[node] = cjson.decode(string.match(all[i + 1], '^%x+ (.*)$'))
    elseif kind == 't' then
      known.text = string.match(all[i + 1], '^%d+ (.*)$')
    elseif kind == 'a' then
      known.active = all[i + 1]
    end
  end
  return known
end

-- The most present of its sessions. One that ended counts no more if its device is back elsewhere.
local function shown(user)
  local known = load(user)
  local back, opened = {}, {}
  for _, sessions in pairs(known.nodes) do
    for _, s in ipairs(sessions) do
      local place = s[2] .. ' ' .. s[3]
      if s[5] == 0 and s[3] ~= '' then back[place] = true end
      opened[place] = math.max(opened[place] or 0, s[4])
    end
  end
  local rank = 0
  for _, sessions in pairs(known.nodes) do
    for _, s in ipairs(sessions) do
      local place = s[2] .. ' ' .. s[3]
      if s[5] == 0 or not (back[place] or opened[place] > s[5]) then rank = math.max(rank, s[1]) end
    end
  end
  if rank <= INVISIBLE then return 0, '', known.active end
  return rank, known.text, known.active
end

-- Changes what is known of a user, and tells it if others see something else then.
local function change(user, make)
  local rank, text = shown(user)
  make()
  local rank_now, text_now, active = shown(user)
  if not quiet and (rank ~= rank_now or text ~= text_now) then
    table.insert(changes, { user, rank_now, text_now, active })
  end
end

local function leave(user, node)
  redis.call('HDEL', hash[user], 'n:' .. node, 'w:' .. node)
  redis.call('ZREM', KEYS[2], node .. ' ' .. user)
  local fields = redis.call('HKEYS', hash[user])
  for _, field in ipairs(fields) do
    if string.sub(field, 1, 2) == 'n:' then return end
  end
  for _, field in ipairs(fields) do
    if field ~= 'a' then redis.call('HDEL', hash[user], field) end
  end
  redis.call('PEXPIRE', hash[user], GONE_MS)
end

-- The words that were set last. `at` 0: just now.
local function words(user, text, at, stored_at)
  if at == 0 then at = math.max(now, stored_at + 1) end
  if at > stored_at then redis.call('HSET', hash[user], 't', digits(at) .. ' ' .. text) end
end

local function keep(entry, version)
  local user, field = entry.u, 'n:' .. said.node
  if entry.s and entry.v ~= version then
    redis.call('HSET', hash[user], field, entry.v .. ' ' .. entry.s)
  end
  if entry.a and tonumber(entry.a) > tonumber(redis.call('HGET', hash[user], 'a') or '0') then
    redis.call('HSET', hash[user], 'a', entry.a)
  end
end

for _, entry in ipairs(said.say) do
  local user = entry.u
  local stored = redis.call('HMGET', hash[user], 'n:' .. said.node, 't', 'w:' .. said.node)
  local version = stored[1] and string.match(stored[1], '^%x+')
  if stored[3] then
    add('wishes', { user, cjson.decode(stored[3]) })
    redis.call('HDEL', hash[user], 'w:' .. said.node)
  end
  if entry.v == '' then
    change(user, function() leave(user, said.node) end)
  elseif not entry.s and version ~= entry.v then
    add('want', user)
  else
    local text_at = tonumber(stored[2] and string.match(stored[2], '^%d+') or '0')
    if (entry.s and version ~= entry.v) or entry.t then
      change(user, function()
        keep(entry, version)
        if entry.t then words(user, entry.t, entry.ta, text_at) end
      end)
    else
      keep(entry, version)
    end
    redis.call('PEXPIRE', hash[user], HASH_MS)
    redis.call('ZADD', KEYS[2], digits(now + math.min(entry.left, LIVE_MS)), said.node .. ' ' .. user)
    local at, text = string.match(redis.call('HGET', hash[user], 't') or '', '^(%d+) (.*)$')
    if at and tonumber(at) ~= entry.ta then add('texts', { user, tonumber(at), text }) end
  end
end

-- Whose node said nothing of them for too long.
local reaped = 0
for _, due in ipairs(said.reap) do
  local user, node = due[1], due[2]
  local by = tonumber(redis.call('ZSCORE', KEYS[2], node .. ' ' .. user) or '')
  if by and by <= now then
    change(user, function() leave(user, node) end)
    reaped = reaped + 1
  end
end

-- What is set of sessions elsewhere, their nodes do when they hear of it.
for _, set in ipairs(said.set) do
  local found = 0
  for node, sessions in pairs(load(set.u).nodes) do
    local has = false
    for _, s in ipairs(sessions) do has = has or (s[5] == 0 and s[2] == set.c) end
    if has and node ~= said.node then
      local wishes = cjson.decode(redis.call('HGET', hash[set.u], 'w:' .. node) or '{}')
      wishes[set.c] = set.s or wishes[set.c] or 0
      redis.call('HSET', hash[set.u], 'w:' .. node, cjson.encode(wishes))
      table.insert(pokes, { node, set.u })
      found = found + 1
    end
  end
  if found > 0 and set.t then
    local at = string.match(redis.call('HGET', hash[set.u], 't') or '', '^%d+')
    change(set.u, function() words(set.u, set.t, 0, tonumber(at or '0')) end)
  end
  add('found', found)
end

if #changes > 0 or #pokes > 0 or #said.touched > 0 or said.lost then
  -- Whoever finds a number left out reads all anew.
  seq = seq + (said.lost and 2 or 1)
  redis.call('HSET', KEYS[1], 'seq', digits(seq))
  local message = { e = epoch, s = seq }
  if #changes > 0 then message.c = changes end
  if #pokes > 0 then message.p = pokes end
  if #said.touched > 0 then message.t = said.touched end
  answer.m = cjson.encode(message)
  redis.call('SPUBLISH', KEYS[3], answer.m)
end

for _, user in ipairs(said.read) do
  local rank, text, active = shown(user)
  add('read', { user, rank, text, active })
end
local due = redis.call('ZRANGE', KEYS[2], '-inf', digits(now), 'BYSCORE', 'LIMIT', '0', DUE_MAX)
if #due > 0 then answer.due = due end
redis.call('PEXPIRE', KEYS[2], DAY_MS)
answer.s, answer.reaped = seq, reaped
return cjson.encode(answer)
