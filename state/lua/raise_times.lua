-- Moves studies that were last updated before the chain's start up to it: they count as updated then.
--
-- KEYS  1 updated   2 changed   3 generation   4.. the study hashes
-- ARGV  1 the chain's start   2.. for each study: Study Instance UID, new rev
-- Reply how many were moved

local moved = 0
for n = 4, #KEYS do
  local uid, rev = ARGV[2 * (n - 3)], ARGV[2 * (n - 3) + 1]
  local time = tonumber(redis.call("HGET", KEYS[n], "time") or ARGV[1])
  if time < tonumber(ARGV[1]) then
    redis.call("HSET", KEYS[n], "time", ARGV[1], "rev", rev)
    redis.call("ZADD", KEYS[1], ARGV[1], uid)
    redis.call("ZADD", KEYS[2], "NX", redis.call("GET", KEYS[3]) or "1", uid)
    moved = moved + 1
  end
end
return moved
