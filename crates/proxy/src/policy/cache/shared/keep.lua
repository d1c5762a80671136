-- Keeps an answer. KEYS: book, names, answer, the answer that is selected by nothing.
-- ARGV: digest of the address, address, answer, milliseconds, names of fields by which it is selected.
-- Gives 1 when it is kept, 0 when it is void by now, 2 when one that was asked for later is there.

local since = tonumber(string.sub(ARGV[3], 1, 16))
if since > top then
  -- Whatever is purged from now on is purged later than this.
  redis.call('HSET', book, 'top', text(math.max(now, since)))
end

-- When what is there was asked for: it begins with that.
local function asked(key) return tonumber(redis.call('GETRANGE', key, 0, 15)) or 0 end

-- Whether one that was asked for later is there, or one that was says that answers are selected by other fields.
local function is_late()
  if asked(KEYS[3]) > since or asked(KEYS[4]) > since then return true end
  return asked(KEYS[2]) > since and string.sub(redis.call('GET', KEYS[2]), 17) ~= ARGV[5]
end

local done = 0
-- The book may have forgotten what was purged more than an hour ago.
if since > now - 3600000000 and judge(ARGV[3], ARGV[1], ARGV[2]) == 1 then
  done = is_late() and 2 or 1
end
if done == 1 then
  if tonumber(ARGV[4]) > tonumber(redis.call('HGET', book, 'ttl') or '0') then
    redis.call('HSET', book, 'ttl', ARGV[4])
  end
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
  if ARGV[5] == '' then
    redis.call('UNLINK', KEYS[2])
  else
    local left, last = redis.call('PTTL', KEYS[2]), math.max(since, asked(KEYS[2]))
    local names = string.format('%016.0f', last) .. ARGV[5]
    redis.call('SET', KEYS[2], names, 'PX', math.max(left, tonumber(ARGV[4])))
    redis.call('UNLINK', KEYS[4])
  end
end
return { text(now), born, seq, done }
