-- Renews what is held, never for a shorter time than it has. Arguments: the lease in milliseconds, and of each account the name of what is held.

local lease = tonumber(ARGV[1])
for place = 1, #KEYS / 2 do
  local hash, leases = KEYS[place * 2 - 1], KEYS[place * 2]
  local ends = redis.call('ZSCORE', leases, ARGV[place + 1])
  if ends and tonumber(ends) < milli + lease then
    redis.call('ZADD', leases, 'XX', whole(milli + lease), ARGV[place + 1])
  end
  if redis.call('PTTL', hash) < lease * 2 then
    redis.call('PEXPIRE', hash, whole(lease * 2 + 60000))
    redis.call('PEXPIRE', leases, whole(lease * 2 + 60000))
  end
end
return 1
