-- Keeps an answer. KEYS: book, names, answer, the answer that is selected by nothing.
-- ARGV: digest of the address, address, answer, milliseconds, names of fields by which it is selected.
-- Gives 1 when it is kept, 0 when it is void by now, 2 when one that was asked for later is there.

local since = tonumber(string.sub(ARGV[3], 1, 16))
if since > top then
  -- Whatever is purged from now on is purged later than this.
  redis.call('HSET', book, 'top', text(math.max(now, since)))
end
local done = 0
if judge(ARGV[3], ARGV[1], ARGV[2]) == 1 then
  local there = tonumber(redis.call('GETRANGE', KEYS[3], 0, 15))
  done = 2
  if not there or there <= since then
    done = 1
    if tonumber(ARGV[4]) > tonumber(redis.call('HGET', book, 'ttl') or '0') then
      redis.call('HSET', book, 'ttl', ARGV[4])
    end
    redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
    if ARGV[5] == '' then
      redis.call('UNLINK', KEYS[2])
    else
      local left = redis.call('PTTL', KEYS[2])
      redis.call('SET', KEYS[2], ARGV[5], 'PX', math.max(left, tonumber(ARGV[4])))
      redis.call('UNLINK', KEYS[4])
    end
  end
end
return { text(now), born, seq, done }
