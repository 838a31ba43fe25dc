-- What scripts that need the time begin with. ARGV: 1 the time in ms; empty: the server's.
local function digits(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
