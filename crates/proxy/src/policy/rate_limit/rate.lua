-- Limits of calls, asked all at once: a call takes of each or of none. One key for each limit. Arguments: `take`, or
-- `back` for what was taken and is of no use; an id of the call; and of each limit its kind (`g`: one time, at which its
-- bucket would be empty; `s`: a sorted set of the times of its calls), window in microseconds, limit and burst.
-- Answers 1 and of each limit how many calls could follow and when it is whole again; or 0, which refuses, and when
-- there is room.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local id = ARGV[2]

local function keep(key, empty)
  if empty <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, string.format('%.17g', empty), 'PX', math.ceil((empty - now) / 1000) + 1)
  end
end

local function terms(place)
  local from = 3 + (place - 1) * 4
  return ARGV[from], tonumber(ARGV[from + 1]), tonumber(ARGV[from + 2]), tonumber(ARGV[from + 3])
end

if ARGV[1] == 'back' then
  for place, key in ipairs(KEYS) do
    local kind, window, limit = terms(place)
    if kind == 's' then
      redis.call('ZREM', key, id)
    else
      local empty = tonumber(redis.call('GET', key) or 0)
      if empty > now then keep(key, empty - window / limit) end
    end
  end
  return { 1 }
end

local answer, empties = { 1 }, {}
for place, key in ipairs(KEYS) do
  local kind, window, limit, burst = terms(place)
  local left, whole
  if kind == 's' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window))
    local count = redis.call('ZCARD', key)
    if count >= limit then
      local leaves = redis.call('ZRANGE', key, count - limit, count - limit, 'WITHSCORES')
      return { 0, place, math.max(1, tonumber(leaves[2]) + window - now) }
    end
    left, whole = limit - count - 1, window
  else
    local cost = window / limit
    local empty = math.max(now, tonumber(redis.call('GET', key) or now)) + cost
    local ahead, most = empty - now, burst * cost
    -- Half a microsecond is what numbers of this size may be wrong by.
    if ahead > most + 0.5 then return { 0, place, math.ceil(ahead - most) } end
    empties[place] = empty
    left, whole = math.floor((most - ahead + 0.5) / cost), math.ceil(ahead)
  end
  answer[#answer + 1] = left
  answer[#answer + 1] = whole
end
for place, key in ipairs(KEYS) do
  local kind, window = terms(place)
  if kind == 's' then
    redis.call('ZADD', key, string.format('%.0f', now), id)
    redis.call('PEXPIRE', key, math.ceil(window / 1000) + 1)
  else
    keep(key, empties[place])
  end
end
return answer
