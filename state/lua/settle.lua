-- After an inventory is published: a study written leaves `changed` if it is still as it was written, else it is owed
-- by the next cut.
--
-- KEYS  1 changed   2.. the study hashes
-- ARGV  1 generation of the next cut   2 sequence of the inventory   3.. for each study: Study Instance UID, rev written
-- Reply how many are settled

local PAGE = 2000 -- words of one command; Lua's stack holds 8000

local call = redis.call
local sequence = ARGV[2] .. ":"
local settled, count = {}, 0
for n = 2, #KEYS do
  local uid, rev = ARGV[2 * n - 1], ARGV[2 * n]
  if call("HGET", KEYS[n], "rev") == rev then
    call("HSET", KEYS[n], "seq", sequence .. rev)
    count = count + 1
    settled[count] = uid
  else
    local owed = call("ZSCORE", KEYS[1], uid)
    if owed and tonumber(owed) < tonumber(ARGV[1]) then
      call("ZADD", KEYS[1], ARGV[1], uid)
    end
  end
end
for first = 1, count, PAGE do
  call("ZREM", KEYS[1], unpack(settled, first, math.min(first + PAGE - 1, count)))
end
return count
