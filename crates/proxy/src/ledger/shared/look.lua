-- Reads one account as it is now. Arguments: the lease, the terms.
-- Answers what is spent, what is held, what is left, and whether somebody was warned.

local a, t = open(1), terms(2)
arrive(a, t)
if a.touched then close(a, t, tonumber(ARGV[1])) end
if t.kind == 'b' then
  local h, l = add(a.sh, a.sl, a.hh, a.hl)
  local left_h, left_l = minus(t.lh, t.ll, h, l)
  return { a.sh, a.sl, a.hh, a.hl, left_h, left_l, a.warned and 1 or 0 }
end
local spent = math.ceil(a.level - 0.000001)
local left = math.max(0, math.floor(a.limit - a.level - a.hh * BASE - a.hl + 0.000001))
return { math.floor(spent / BASE), spent % BASE, a.hh, a.hl, math.floor(left / BASE), left % BASE, 0 }
