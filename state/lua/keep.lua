-- Keeps members in a sorted set beside the offsets, and leaves an anchor for each partition that they come from.
--
-- KEYS  1 anchors   2 the sorted set (patients or news)
-- ARGV  number of partitions P, then P times: field of anchors, the anchor left there last ("": any)
--       the new anchor   then the members
-- Reply -1, or the index of the partition (from 0) whose anchor is gone; then nothing was written

local PAGE = 2000 -- words of one command; Lua's stack holds 8000

local partitions = tonumber(ARGV[1])
local members = 2 * partitions + 3
for p = 1, partitions do
  local left = ARGV[2 * p + 1]
  if left ~= "" and redis.call("HGET", KEYS[1], ARGV[2 * p]) ~= left then
    return p - 1
  end
end
local words, count = {}, 0
for i = members, #ARGV do
  words[count + 1], words[count + 2] = 0, ARGV[i]
  count = count + 2
end
for first = 1, count, PAGE do
  redis.call("ZADD", KEYS[2], unpack(words, first, math.min(first + PAGE - 1, count)))
end
for p = 1, partitions do
  redis.call("HSET", KEYS[1], ARGV[2 * p], ARGV[members - 1])
end
return -1
