-- Remembers a nonce for so many milliseconds: 1 when it is new, 0 when it was there.
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 1 end
return 0
