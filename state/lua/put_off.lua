-- Notes that a look at the archive has failed, and when to try again, unless the debt is another one by now.
--
-- KEYS  1 owed   2 owed_due   3 owed_tries
-- ARGV  1 what is owed   2 token   3 tries (JSON)   4 when it is due (UTC microseconds, "+inf": never)
-- Reply 1 if it was noted, else 0

if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call("HSET", KEYS[3], ARGV[1], ARGV[3])
redis.call("ZADD", KEYS[2], ARGV[4], ARGV[1])
return 1
