-- Takes the writer's lease if nobody holds it.
--
-- KEYS  1 lease   2 fence
-- ARGV  1 milliseconds until it expires
-- Reply the fencing token, higher than any before; 0 if another writer holds the lease

if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
local token = redis.call("INCR", KEYS[2])
redis.call("SET", KEYS[1], token, "PX", ARGV[1])
return token
