-- Reads the same fields of many studies of one shard.
--
-- KEYS  the study hashes
-- ARGV  the fields, the first of which every hash has
-- Reply the values of the fields, for each study; nil for one that is not there

local found = {}
for n, key in ipairs(KEYS) do
  found[n] = redis.call("HEXISTS", key, ARGV[1]) == 1 and redis.call("HMGET", key, unpack(ARGV))
end
return found
