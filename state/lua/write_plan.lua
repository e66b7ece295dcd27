-- Writes or removes the plan of the inventory being produced, and remembers the cut it takes, and when that was begun.
--
-- KEYS  1 lease   2 plan   3 chain
-- ARGV  1 the caller's fencing token   2 plan (JSON; "": remove it)   3 the cut taken ("": none)
-- Reply 1, or 0 if the caller does not hold the lease

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == "" then
  redis.call("DEL", KEYS[2])
else
  redis.call("SET", KEYS[2], ARGV[2])
end
if ARGV[3] ~= "" and tonumber(redis.call("HGET", KEYS[3], "cut") or "0") < tonumber(ARGV[3]) then
  redis.call("HSET", KEYS[3], "cut", ARGV[3])
end
if ARGV[3] ~= "" and string.match(redis.call("HGET", KEYS[3], "begun") or "", "^%d+") ~= ARGV[3] then
  redis.call("HSET", KEYS[3], "begun", ARGV[3] .. " " .. redis.call("TIME")[1])
end
return 1
