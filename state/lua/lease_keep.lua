-- Keeps or ends the writer's lease, if it is still the caller's.
--
-- KEYS  1 lease
-- ARGV  1 the caller's fencing token   2 milliseconds until it expires ("0": give it up)
-- Reply 1, or 0 if the lease is another's or has expired

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == "0" then
  redis.call("DEL", KEYS[1])
else
  redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return 1
