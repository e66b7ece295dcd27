-- Takes a cut in one shard: what is applied from now on belongs to the next one. Not in a shard that has lost what the
-- cut's watermark stands for: what it gets back would then belong to the next cut. Nor in one that knows of no cut
-- though some were taken: it was lost entirely, and what it gets back from Kafka alone may not be all that it held.
--
-- KEYS  1 generation   2 updated   3 cut   4 offsets
-- ARGV  1 the generation that collects from now on   2 the cut's moment (UTC microseconds)
--       3 "1": no cut was taken yet, or this may have been forgotten
--       then any number of times: field of offsets, the last offset that has to be applied
-- Reply {"raised", the oldest Study Update DateTime of the shard, or "" if it holds no study}
--       {"behind"}, {"forgotten"}   nothing was changed

if ARGV[3] ~= "1" and redis.call("EXISTS", KEYS[1]) == 0 then
  return {"forgotten"}
end
for n = 4, #ARGV, 2 do
  if tonumber(redis.call("HGET", KEYS[4], ARGV[n]) or "-1") < tonumber(ARGV[n + 1]) then
    return {"behind"}
  end
end
if tonumber(redis.call("GET", KEYS[1]) or "1") < tonumber(ARGV[1]) then
  redis.call("SET", KEYS[1], ARGV[1])
end
redis.call("SET", KEYS[3], ARGV[2])
return {"raised", redis.call("ZRANGE", KEYS[2], 0, 0, "WITHSCORES")[2] or ""}
