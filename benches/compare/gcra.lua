-- The generic cell rate algorithm as people run it in Redis: the theoretical arrival time of the next unit, by key.
-- ARGV: the most that may come at once, units in a period, its seconds, the cost.
local burst, rate, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local interval = period / rate
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local arrival = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
local after = arrival + interval * cost
local allowed_at = after - interval * burst
if allowed_at > now then
  local left = math.floor((now - (arrival - interval * burst)) / interval)
  return {1, burst, left, math.ceil(allowed_at - now), math.ceil(arrival - now)}
end
redis.call('SET', KEYS[1], after, 'EX', math.ceil(after - now))
return {0, burst, math.floor((now - allowed_at) / interval), -1, math.ceil(after - now)}
