-- Spends of an account at once, or refuses. Arguments: the terms. Answers as `hold` does.

local a, t = open(1), terms(1)
arrive(a, t)
local h, l = add(a.sh, a.sl, a.hh, a.hl)
local left_h, left_l = minus(t.lh, t.ll, h, l)
local wait = math.max(1, a.ends - second) * 1000
if less(left_h, left_l, t.ah, t.al) then
  if a.touched then close(a, t, 0) end
  return { 0, 1, left_h, left_l, wait, a.sh, a.sl, a.hh, a.hl }
end
a.sh, a.sl = add(a.sh, a.sl, t.ah, t.al)
close(a, t, 0)
left_h, left_l = minus(left_h, left_l, t.ah, t.al)
return { 1, second, left_h, left_l, a.sh, a.sl, wait, a.period, 0 }
