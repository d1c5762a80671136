-- Keeps an answer, unless its key is by now another request's. Arguments: the token, the fingerprint, how long it is
-- kept in milliseconds, the answer.

local token = redis.call('HGET', KEYS[1], 't')
if token and token ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'f', ARGV[2], 't', ARGV[1], 'a', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
