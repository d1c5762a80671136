-- Begins a request, unless there is one with its key. Arguments: the fingerprint, the token, the lease in milliseconds.
-- Answers 0 for the first, 1 and the answer, 2 while it is on its way, 3 for another request's key.

local f = redis.call('HMGET', KEYS[1], 'f', 'a')
if not f[1] then
  redis.call('HSET', KEYS[1], 'f', ARGV[1], 't', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return { 0 }
end
if f[1] ~= ARGV[1] then return { 3 } end
if f[2] then return { 1, f[2] } end
return { 2 }
