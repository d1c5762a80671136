-- Tells what was purged since. KEYS: book, log. ARGV: the number of the last purge that is known (-1: none is), and for how
-- many milliseconds both stay when nobody asks any more.

local last, news = tonumber(ARGV[1]), {}
if last >= 0 and seq > last then news = redis.call('LRANGE', KEYS[2], -(seq - last), -1) end
redis.call('PEXPIRE', book, ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { text(now), born, seq, news }
