-- Moves the chain's head: compare and set on the sequence and the fencing token.
--
-- KEYS  1 lease   2 chain
-- ARGV  1 the caller's fencing token   2 sequence of the head before   3 new sequence   4 new head (manifest, JSON)
-- Reply "moved", "fenced" (the lease is another's) or "passed" (the head is not the one expected)

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return "fenced"
end
if (redis.call("HGET", KEYS[2], "sequence") or "0") ~= ARGV[2] then
  return "passed"
end
redis.call("HSET", KEYS[2], "sequence", ARGV[3], "head", ARGV[4])
return "moved"
