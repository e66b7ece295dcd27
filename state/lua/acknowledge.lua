-- Notes that somebody has seen that a study is not settled, or takes that back.
--
-- KEYS  the pair's (place.lua)
-- ARGV  1 Study Instance UID   2 who, when and why (JSON; "": take it back)
-- Reply 1, or 0 if the study is not open

local found = redis.call("HGET", KEYS[1], ARGV[1])
if not found or not OPEN[string.sub(found, 1, 1)] then
  return 0
end
if ARGV[2] == "" then
  redis.call("HDEL", KEYS[4], ARGV[1])
else
  redis.call("HSET", KEYS[4], ARGV[1], ARGV[2])
end
return 1
