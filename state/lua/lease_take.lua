-- Takes the writer's lease if nobody holds it.
--
-- KEYS  1 lease   2 fence   3 settings
-- ARGV  1 milliseconds until it expires   2 the writer's schema ("": whatever the state has)
-- Reply the fencing token, higher than any before; 0 if another writer holds the lease
--       the state's schema, if it is another than the writer's; nothing was written

local schema = redis.call("HGET", KEYS[3], "schema")
if schema and ARGV[2] ~= "" and schema ~= ARGV[2] then
  return schema
end
if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
local token = redis.call("INCR", KEYS[2])
redis.call("SET", KEYS[1], token, "PX", ARGV[1])
return token
