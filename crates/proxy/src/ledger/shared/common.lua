-- Accounts: what is spent and what is held, for scripts over them. Amounts are two whole numbers, of which the second
-- counts to 10^12: a number of Lua's is exact up to 2^53, and picodollars are more.
--
-- An account is a hash (`p` its period's beginning, `sh` and `sl` what is spent, `hh` and `hl` what is held, `w` that
-- somebody was warned, `lv` and `at` the level of a bucket and when it was so; `h:ID` what one call holds, `x:ID` that
-- its lease ran out, `d:ID` that it was counted) and a sorted set of these last three by when they are given up.

local BASE = 1000000000000
local MARK_MS = 3600000

local clock = redis.call('TIME')
local second = tonumber(clock[1])
local micro = second * 1000000 + tonumber(clock[2])
local milli = math.floor(micro / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function add(ah, al, bh, bl)
  local h, l = ah + bh, al + bl
  if l >= BASE then h, l = h + 1, l - BASE end
  return h, l
end

local function less(ah, al, bh, bl)
  return ah < bh or (ah == bh and al < bl)
end

-- Never below nothing.
local function minus(ah, al, bh, bl)
  if less(ah, al, bh, bl) then return 0, 0 end
  local h, l = ah - bh, al - bl
  if l < 0 then h, l = h - 1, l + BASE end
  return h, l
end

local function split(text)
  local h, l = string.match(text, '^(%d+):(%d+)$')
  return tonumber(h) or 0, tonumber(l) or 0
end

local function open(place)
  local hash = KEYS[place * 2 - 1]
  local f = redis.call('HMGET', hash, 'p', 'sh', 'sl', 'hh', 'hl', 'w', 'lv', 'at')
  return {
    hash = hash, leases = KEYS[place * 2],
    period = tonumber(f[1]), sh = tonumber(f[2]) or 0, sl = tonumber(f[3]) or 0,
    hh = tonumber(f[4]) or 0, hl = tonumber(f[5]) or 0, warned = f[6] == '1',
    level = tonumber(f[7]) or 0, at = tonumber(f[8]) or micro,
  }
end

local function release(a, field)
  local held = redis.call('HGET', a.hash, field)
  if not held then return false end
  a.hh, a.hl = minus(a.hh, a.hl, split(held))
  redis.call('HDEL', a.hash, field)
  redis.call('ZREM', a.leases, field)
  a.touched = true
  return true
end

local function mark(a, field)
  redis.call('HSET', a.hash, field, '1')
  redis.call('ZADD', a.leases, whole(milli + MARK_MS), field)
end

-- Gives back what nobody renews.
local function reap(a)
  for _ = 1, 16 do
    local gone = redis.call('ZRANGEBYSCORE', a.leases, '-inf', whole(milli), 'LIMIT', 0, 64)
    for _, field in ipairs(gone) do
      if string.sub(field, 1, 2) == 'h:' then
        release(a, field)
        mark(a, 'x:' .. string.sub(field, 3))
      else
        redis.call('HDEL', a.hash, field)
        redis.call('ZREM', a.leases, field)
      end
    end
    if #gone < 64 then return end
  end
end

-- The terms of an account as they stand in the arguments, eleven of them.
local function terms(from)
  local n = function(offset) return tonumber(ARGV[from + offset]) or 0 end
  local t = { kind = ARGV[from], ah = n(1), al = n(2), lh = n(3), ll = n(4), wh = n(9), wl = n(10) }
  t.bounds = { n(5), n(6), n(7), n(8) }
  t.window = t.bounds[1]
  return t
end

-- Brings an account to this moment: into its period, or down to where its bucket has leaked to.
local function arrive(a, t)
  reap(a)
  if t.kind == 'b' then
    local begin, finish = t.bounds[1], t.bounds[2]
    for i = 2, 3 do
      if second >= t.bounds[i] then begin, finish = t.bounds[i], t.bounds[i + 1] end
    end
    a.ends = finish
    if a.period ~= begin then
      if a.period then
        redis.call('DEL', a.hash, a.leases)
        a.touched = true
      end
      a.period, a.sh, a.sl, a.hh, a.hl, a.warned = begin, 0, 0, 0, 0, false
    end
  else
    a.limit = t.lh * BASE + t.ll
    a.level = math.max(0, a.level - math.max(0, micro - a.at) * a.limit / t.window)
    a.at = math.max(a.at, micro)
  end
end

local function close(a, t, lease)
  local life
  -- Of an account in which nothing is, nothing is kept.
  if a.sh == 0 and a.sl == 0 and a.hh == 0 and a.hl == 0 and a.level <= 0 and redis.call('ZCARD', a.leases) == 0 then
    redis.call('DEL', a.hash, a.leases)
    return
  end
  if t.kind == 'b' then
    redis.call('HSET', a.hash, 'p', whole(a.period), 'sh', whole(a.sh), 'sl', whole(a.sl), 'hh', whole(a.hh),
      'hl', whole(a.hl), 'w', a.warned and '1' or '0')
    life = (a.ends + 86400) * 1000 - milli
  else
    redis.call('HSET', a.hash, 'lv', string.format('%.17g', a.level), 'at', whole(a.at), 'hh', whole(a.hh),
      'hl', whole(a.hl))
    life = math.ceil(t.window / 1000) + 60000
  end
  life = whole(math.max(life, lease * 2 + 60000))
  redis.call('PEXPIRE', a.hash, life)
  redis.call('PEXPIRE', a.leases, life)
end

local function warn(a, t)
  if t.kind ~= 'b' or a.warned or less(a.sh, a.sl, t.wh, t.wl) then return 0 end
  a.warned = true
  return 1
end
