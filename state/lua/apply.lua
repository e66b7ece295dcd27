-- Applies a batch to one shard: all of it or nothing. State and Kafka offsets move together in one slot.
--
-- KEYS  1 offsets   2 updated   3 changed   4 generation   5 start   6.. the study hashes, one for each study
-- ARGV  number of partitions P, then P times: field of offsets, expected last offset ("-1": none), new last offset
--       number of studies N, then N times: Study Instance UID, rev as read ("": none), new rev,
--         Study Update DateTime, number of fields F, then F times field and value, number of deleted fields D, then them
-- Reply {"applied", studies moved up to the chain's start}
--       {"offset", index of the partition (from 0), offset found}   nothing was written
--       {"rev"}                                                     a study is not as read; nothing was written

local at = 1
local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end

local partitions = tonumber(take())
local offsets = {}
for p = 1, partitions do
  local field, expected, new = take(), take(), take()
  local found = redis.call("HGET", KEYS[1], field) or "-1"
  if found ~= expected then
    return {"offset", p - 1, tonumber(found)}
  end
  offsets[2 * p - 1] = field
  offsets[2 * p] = new
end

local count = tonumber(take())
local studies = {}
for n = 1, count do
  local study = {uid = take(), rev = take(), new = take(), time = tonumber(take())}
  local fields = tonumber(take())
  study.set_from, study.set_to = at, at + 2 * fields - 1
  at = at + 2 * fields
  local deleted = tonumber(take())
  study.del_from, study.del_to = at, at + deleted - 1
  at = at + deleted
  if (redis.call("HGET", KEYS[5 + n], "rev") or "") ~= study.rev then
    return {"rev"}
  end
  studies[n] = study
end

local generation = redis.call("GET", KEYS[4]) or "1"
local start = redis.call("GET", KEYS[5])
local moved = 0
for n = 1, count do
  local study, key = studies[n], KEYS[5 + n]
  local time = study.time
  if start and time < tonumber(start) then
    time = tonumber(start)
    moved = moved + 1
  end
  local text = string.format("%.0f", time)
  redis.call("HSET", key, "rev", study.new, "time", text, unpack(ARGV, study.set_from, study.set_to))
  if study.del_to >= study.del_from then
    redis.call("HDEL", key, unpack(ARGV, study.del_from, study.del_to))
  end
  redis.call("ZADD", KEYS[2], text, study.uid)
  redis.call("ZADD", KEYS[3], "NX", generation, study.uid)
end
if partitions > 0 then
  redis.call("HSET", KEYS[1], unpack(offsets))
end
return {"applied", moved}
