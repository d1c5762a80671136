-- Settles what a call held to what it cost, once, however often it is told. Arguments: the call's id, the lease, how it
-- comes (`first`; `again`, when it may have been settled before; `added`, what was never held here), and of each account
-- the terms with the cost as amount and the period in which it was held behind them.
-- Answers of each account whether it was counted, what is spent, and whether somebody is to be warned.

local id, lease, way = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local answer = {}

for place = 1, #KEYS / 2 do
  local from = 4 + (place - 1) * 12
  local a, t, period = open(place), terms(from), tonumber(ARGV[from + 11])
  local name = id .. '.' .. place
  arrive(a, t)
  local counts
  if way == 'added' then
    counts = redis.call('HEXISTS', a.hash, 'd:' .. name) == 0
  elseif release(a, 'h:' .. name) then
    counts = true
  elseif redis.call('HDEL', a.hash, 'x:' .. name) == 1 then
    redis.call('ZREM', a.leases, 'x:' .. name)
    counts = true
  else
    counts = way == 'first'
  end
  -- What began in another period belongs there.
  if t.kind == 'b' and period ~= a.period then counts = false end
  local warned = 0
  if counts then
    if t.kind == 'b' then
      a.sh, a.sl = add(a.sh, a.sl, t.ah, t.al)
      warned = warn(a, t)
    else
      a.level = a.level + t.ah * BASE + t.al
    end
    if way == 'added' then mark(a, 'd:' .. name) end
  end
  if counts and (t.ah > 0 or t.al > 0) or a.touched then close(a, t, lease) end
  answer[#answer + 1] = counts and 1 or 0
  answer[#answer + 1] = a.sh
  answer[#answer + 1] = a.sl
  answer[#answer + 1] = warned
end
return answer
