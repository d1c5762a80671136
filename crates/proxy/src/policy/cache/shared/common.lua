-- What every script begins with: the time, and the book of what was purged from one cache. KEYS[1] is the book.
-- Times are microseconds and never go back, whichever server tells them.

local book = KEYS[1]

local function text(number) return string.format('%.0f', number) end

local born, top, seq = unpack(redis.call('HMGET', book, 'born', 'top', 'seq'))
local clock = redis.call('TIME')
local now = math.max(clock[1] * 1000000 + clock[2], tonumber(top or '0'))
top, seq = tonumber(top or '0'), tonumber(seq or '0')
if not born then
  -- A book that was lost took purges with it: what was kept before is void.
  born = text(now)
  redis.call('HSET', book, 'born', born, 'top', born, 'seq', '0')
  top, seq = now, 0
end

-- The time of the last purge of a beginning that an address has.
local function begins(list, address)
  local last = 0
  for _, one in ipairs(cmsgpack.unpack(list)) do
    if string.sub(address, 1, #one[1]) == one[1] then last = math.max(last, tonumber(one[2])) end
  end
  return last
end

-- Whether what an answer holds still counts: 0 it is void, 1 it does, 2 it is to be asked about. The answer says when it
-- was asked for and which tags it has: 16 digits, 4 digits, 16 for each tag.
local function judge(value, place, address)
  local since = tonumber(string.sub(value, 1, 16))
  if not since or since < tonumber(born) then return 0 end
  local fields = { 'ha', 'sa', 'hb', 'sb', 'hu:' .. place, 'su:' .. place }
  -- Of a count that none is, or of more tags than any answer has, whoever reads it finds that it is damaged.
  local count = tonumber(string.match(string.sub(value, 17, 20), '^%d%d%d%d$') or '0')
  for at = 1, count <= 1000 and count or 0 do
    local tag = string.sub(value, 5 + 16 * at, 20 + 16 * at)
    fields[#fields + 1] = 'ht:' .. tag
    fields[#fields + 1] = 'st:' .. tag
  end
  local fate = 1
  for at, found in ipairs(redis.call('HMGET', book, unpack(fields))) do
    if found then
      local kind = string.sub(fields[at], 2, 2)
      local purged = kind == 'b' and begins(found, address) or tonumber(found)
      if since <= purged then
        if string.sub(fields[at], 1, 1) == 'h' then return 0 end
        fate = 2
      end
    end
  end
  return fate
end
