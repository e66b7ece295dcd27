-- Takes a cut in one shard: what is applied from now on belongs to the next one.
--
-- KEYS  1 generation   2 updated
-- ARGV  1 the generation that collects from now on
-- Reply the oldest Study Update DateTime of the shard, or "" if it holds no study

if tonumber(redis.call("GET", KEYS[1]) or "1") < tonumber(ARGV[1]) then
  redis.call("SET", KEYS[1], ARGV[1])
end
return redis.call("ZRANGE", KEYS[2], 0, 0, "WITHSCORES")[2] or ""
