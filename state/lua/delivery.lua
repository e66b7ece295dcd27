-- Reads how far a sink is, after writing it if that is asked for: only for who holds the writer's lease.
--
-- KEYS  1 lease   2 sinks
-- ARGV  1 the caller's fencing token   2 the sink's name   3 how far it is (JSON; "": only read)
-- Reply what is now written (JSON; "": nothing), or nil if the caller does not hold the lease

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return false
end
if ARGV[3] ~= "" then
  redis.call("HSET", KEYS[2], ARGV[2], ARGV[3])
end
return redis.call("HGET", KEYS[2], ARGV[2]) or ""
