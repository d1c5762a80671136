-- Failed sign-ins that several gateways count together, under a key for each way of counting; all or one question.
-- Arguments: what is done, the place that is tried from, and for how many milliseconds a lock is remembered.
-- `look`: of each key how many milliseconds its lock still lasts, and its failures.
-- `fail`, with the failures that lock, the window, the lock and the longest lock of each key in milliseconds: counts one,
-- and answers how long the lock lasts that begins with it, or 0.
-- `forgive`: takes back the failures of the place.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local place, memory = 'from:' .. ARGV[2], tonumber(ARGV[3])
-- Places that are told apart of one key; further ones are forgiven by nobody.
local PLACES_MAX = 16
local OWN = {'failures', 'since', 'last', 'until', 'locks'}

local function read(key)
  local entry, found = redis.call('HMGET', key, unpack(OWN)), {}
  for i, name in ipairs(OWN) do found[name] = tonumber(entry[i] or '0') end
  return found
end

local function write(key, entry, window)
  redis.call('HSET', key, 'failures', entry.failures, 'since', entry.since, 'last', entry.last,
    'until', entry['until'], 'locks', entry.locks)
  local lasts = window
  if entry.locks > 0 then lasts = math.max(lasts, memory) end
  redis.call('PEXPIRE', key, math.max(0, entry.last - now) + lasts + 1000)
end

-- What follows is counted from nothing.
local function begin(key, entry)
  entry.failures, entry.since = 0, now
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.sub(name, 1, 5) == 'from:' then redis.call('HDEL', key, name) end
  end
end

local answer = {}
for i, key in ipairs(KEYS) do
  local entry = read(key)
  if ARGV[1] == 'look' then
    answer[#answer + 1] = math.max(0, entry['until'] - now)
    answer[#answer + 1] = entry.failures
  elseif ARGV[1] == 'fail' then
    local from = 4 + (i - 1) * 4
    local most, window = tonumber(ARGV[from]), tonumber(ARGV[from + 1])
    local lock, longest = tonumber(ARGV[from + 2]), tonumber(ARGV[from + 3])
    answer[i] = 0
    -- One that was on its way when the lock began counts no more.
    if entry['until'] <= now then
      if now - entry.since > window then begin(key, entry) end
      if now - entry.last > memory then entry.locks = 0 end
      entry.failures, entry.last = entry.failures + 1, now
      if redis.call('HEXISTS', key, place) == 1 or redis.call('HLEN', key) < #OWN + PLACES_MAX then
        redis.call('HINCRBY', key, place, 1)
      end
      if entry.failures >= most then
        local lasts = math.min(lock * 2 ^ math.min(entry.locks, 20), longest)
        begin(key, entry)
        entry.locks = entry.locks + 1
        -- The memory of a lock begins when it ends.
        entry['until'], entry.last = now + lasts, now + lasts
        answer[i] = lasts
      end
      write(key, entry, window)
    end
  else
    local theirs = tonumber(redis.call('HGET', key, place) or '0')
    if theirs > 0 then
      redis.call('HDEL', key, place)
      entry.failures = math.max(0, entry.failures - theirs)
      if entry.failures == 0 and entry.locks == 0 then
        redis.call('DEL', key)
      else
        redis.call('HSET', key, 'failures', entry.failures)
      end
    end
    answer[i] = entry.failures
  end
end
return answer
