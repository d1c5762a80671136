-- Purges. KEYS: book, log. ARGV: who purges, how many purges the book may hold, how many beginnings, how many the log,
-- and for each: kind (u, b, t, a), how (h, s), what the book knows it by, what the others are told.

now = math.max(now, top + 1)
local stamp = text(now)
-- What was asked for before this is kept no longer: no answer stays for so long, and none is on its way for an hour.
local horizon = now - tonumber(redis.call('HGET', book, 'ttl') or '0') * 1000 - 3600000000

-- All that was asked for before now.
local function all(how)
  if how == 's' then
    redis.call('HSET', book, 'sa', stamp)
    return
  end
  -- Nothing of the book counts beside it.
  redis.call('DEL', book)
  redis.call('HSET', book, 'born', born, 'ha', stamp)
end

-- A beginning of addresses: those that nobody needs go.
local function beginning(how, id)
  local known, list = redis.call('HGET', book, how .. 'b'), {}
  for _, one in ipairs(known and cmsgpack.unpack(known) or {}) do
    if one[1] ~= id and tonumber(one[2]) > horizon then list[#list + 1] = one end
  end
  list[#list + 1] = { id, stamp }
  if #list > tonumber(ARGV[3]) then
    redis.call('HDEL', book, how .. 'b')
    all(how)
  else
    redis.call('HSET', book, how .. 'b', cmsgpack.pack(list))
  end
end

for at = 5, #ARGV, 4 do
  local kind, how, id, told = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if kind == 'a' then
    all(how)
  elseif kind == 'b' then
    beginning(how, id)
  else
    redis.call('HSET', book, how .. kind .. ':' .. id, stamp)
  end
  seq = seq + 1
  redis.call('RPUSH', KEYS[2], text(seq) .. '\0' .. ARGV[1] .. '\0' .. kind .. how .. '\0' .. told)
end
if redis.call('HLEN', book) > tonumber(ARGV[2]) then
  local names = redis.call('HKEYS', book)
  for _, name in ipairs(names) do
    local is_one = string.sub(name, 3, 3) == ':'
    if is_one and tonumber(redis.call('HGET', book, name)) <= horizon then redis.call('HDEL', book, name) end
  end
  -- Of more nobody remembers which they were.
  if redis.call('HLEN', book) > tonumber(ARGV[2]) / 2 then all('h') end
end
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[4]), -1)
redis.call('HSET', book, 'top', stamp, 'seq', text(seq))
return { stamp, born, seq }
