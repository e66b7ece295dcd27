-- After an inventory is published: a study written leaves `changed` if it is still as it was written, else it is owed
-- by the next cut.
--
-- KEYS  1 changed   2.. the study hashes
-- ARGV  1 generation of the next cut   2 sequence of the inventory   3.. for each study: Study Instance UID, rev written
-- Reply how many are settled

local settled = 0
for n = 2, #KEYS do
  local uid, rev = ARGV[2 * n - 1], ARGV[2 * n]
  if redis.call("HGET", KEYS[n], "rev") == rev then
    redis.call("ZREM", KEYS[1], uid)
    redis.call("HSET", KEYS[n], "seq", ARGV[2] .. ":" .. rev)
    settled = settled + 1
  else
    local owed = redis.call("ZSCORE", KEYS[1], uid)
    if owed and tonumber(owed) < tonumber(ARGV[1]) then
      redis.call("ZADD", KEYS[1], ARGV[1], uid)
    end
  end
end
return settled
