-- Moves one study to its place, if nobody has since what was read of it: for a study that the other side knows by another
-- UID, so that its own record is in another shard.
--
-- KEYS  the pair's (place.lua)
-- ARGV  1 side ("s" or "t")   2 Study Instance UID by which the pair knows it   3 what ``compared`` held of it ("": nothing)
--       4 summary ("": that side does not know it any more)
-- Reply 1, or 0 if something else is held now

if (redis.call("HGET", KEYS[1], ARGV[2]) or "") ~= ARGV[3] then
  return 0
end
local now = redis.call("TIME")
move_places(KEYS, ARGV[1], {ARGV[2]}, {ARGV[4]}, now[1] * 1000000 + now[2])
return 1
