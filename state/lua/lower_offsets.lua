-- Lowers a shard's offset of one partition, so that its events are read and applied again.
--
-- KEYS  1 offsets
-- ARGV  1 field `<topic id>:<partition>`   2 last offset that stays applied ("-1": none)
-- Reply 1 if it was lowered, 0 if it was not above

local found = redis.call("HGET", KEYS[1], ARGV[1])
if not found or tonumber(found) <= tonumber(ARGV[2]) then
  return 0
end
if tonumber(ARGV[2]) < 0 then
  redis.call("HDEL", KEYS[1], ARGV[1])
else
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
end
return 1
