-- Compares studies of one repository anew, each if it is still as it was read.
--
-- KEYS  1..13 the pair's (place.lua)   14.. the study hashes
-- ARGV  1 side ("s" or "t")   then for each study: Study Instance UID by which the pair knows it, rev as read, summary
-- Reply how many were compared; the others have changed since, which compared them

local now = redis.call("TIME")
now = now[1] * 1000000 + now[2]
local pair = {unpack(KEYS, 1, PAIR_KEYS)}
local uids, summaries = {}, {}
local at = 2
for k = PAIR_KEYS + 1, #KEYS do
  if redis.call("HGET", KEYS[k], "rev") == ARGV[at + 1] then
    uids[#uids + 1] = ARGV[at]
    summaries[#uids] = ARGV[at + 2]
  end
  at = at + 3
end
move_places(pair, ARGV[1], uids, summaries, now)
return #uids
