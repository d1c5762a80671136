-- Looks for an answer. KEYS: book, names, answer. ARGV: digest of the address, address.
-- Gives what the answer is good for (-1 there is none), it, and the names of fields by which answers are selected.

local names, value = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local fate = -1
if value then
  fate = judge(value, ARGV[1], ARGV[2])
  if fate == 0 then
    redis.call('UNLINK', KEYS[3])
    value = false
  end
end
-- Before the names stands when the last answer that has them was asked for.
return { text(now), born, seq, fate, value, names and string.sub(names, 17) }
