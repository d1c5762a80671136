-- Holds for a call in every account, or in none. Arguments: the call's id, the lease in milliseconds, the terms.
-- Answers 1, the second, and of each account what is left, what is spent, when it is whole again or its period ends,
-- its period, and whether somebody is to be warned; or 0, which account refuses, what is left, when there is room, what is spent and what is held.

local id, lease = ARGV[1], tonumber(ARGV[2])
local answer, done = { 1, second }, {}

for place = 1, #KEYS / 2 do
  local a, t = open(place), terms(3 + (place - 1) * 11)
  local field = 'h:' .. id .. '.' .. place
  arrive(a, t)
  local h, l, fits, left_h, left_l, wait = t.ah, t.al, true, 0, 0, 0
  if t.kind == 'b' then
    local th, tl = add(a.sh, a.sl, a.hh, a.hl)
    left_h, left_l = minus(t.lh, t.ll, th, tl)
    fits = not less(left_h, left_l, h, l) and (left_h > 0 or left_l > 0)
    wait = math.max(1, a.ends - second) * 1000
  else
    if less(t.lh, t.ll, h, l) then h, l = t.lh, t.ll end
    local taken = a.level + a.hh * BASE + a.hl
    local wanted = taken + h * BASE + l
    fits = wanted <= a.limit + 0.000001
    local left = math.max(0, math.floor(a.limit - (fits and wanted or taken) + 0.000001))
    left_h, left_l = math.floor(left / BASE), left % BASE
    wait = math.ceil((fits and wanted or wanted - a.limit) * t.window / a.limit / 1000)
  end
  if not fits then
    if a.touched then close(a, t, lease) end
    for other = #done, 1, -1 do
      local b = open(other)
      b.at, b.ends = done[other].at, done[other].ends
      release(b, 'h:' .. id .. '.' .. other)
      close(b, done[other].terms, lease)
    end
    return { 0, place, left_h, left_l, wait, a.sh, a.sl, a.hh, a.hl }
  end
  a.hh, a.hl = add(a.hh, a.hl, h, l)
  redis.call('HSET', a.hash, field, whole(h) .. ':' .. whole(l))
  redis.call('ZADD', a.leases, whole(milli + lease), field)
  local warned = warn(a, t)
  close(a, t, lease)
  done[place] = { terms = t, ends = a.ends, at = a.at }
  for _, value in ipairs({ left_h, left_l, a.sh, a.sl, wait, a.period or 0, warned }) do
    answer[#answer + 1] = value
  end
end
return answer
