-- Strikes off a study whose record was compared in another shard, if the record is still the one that was.
--
-- KEYS  1 uncompared   2 the study hash
-- ARGV  1 Study Instance UID   2 rev that was compared
-- Reply 1, or 0 if it is still owed: whatever was written meanwhile may have been overtaken

if (redis.call("HGET", KEYS[2], "rev") or "") == ARGV[2] then
  redis.call("SREM", KEYS[1], ARGV[1])
  return 1
end
redis.call("SADD", KEYS[1], ARGV[1])
return 0
