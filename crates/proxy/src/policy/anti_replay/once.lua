-- Remembers a nonce for so many milliseconds, of so many of its caller's: 1 when it is new, 0 when it was there, and less
-- when its caller has no place for so many milliseconds.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[2]) then
  return -math.max(1, redis.call('PTTL', KEYS[2]))
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
if redis.call('INCR', KEYS[2]) == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
return 1
