-- Keeps one row of a pair's figures, unless there is one of its time already.
--
-- KEYS  1 history
-- ARGV  1 number of the minute or hour since the epoch   2 the row (JSON)   3 how many are kept
-- Reply 1, or 0 if there was one

if redis.call("ZCOUNT", KEYS[1], ARGV[1], ARGV[1]) > 0 then
  return 0
end
redis.call("ZADD", KEYS[1], ARGV[1], ARGV[2])
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", ARGV[1] - ARGV[3])
return 1
