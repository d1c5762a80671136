-- Gives a key free that its request has no answer for. Argument: the token.

local f = redis.call('HMGET', KEYS[1], 't', 'a')
if f[1] ~= ARGV[1] or f[2] then return 0 end
redis.call('DEL', KEYS[1])
return 1
