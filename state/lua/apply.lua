-- Applies a batch to one shard: all of it or nothing. State and Kafka offsets move together in one slot.
--
-- KEYS  1 offsets   2 updated   3 changed   4 generation   5 start   6 cut   7 anchors   8 owed   9 owed_due
--       10 owed_tries   then, if the repository is one of a pair, the pair's (place.lua)   then the study hashes
-- ARGV  the side of the pair that the repository is ("s", "t", "": none), number of partitions P, then P times: field of offsets, expected last offset ("-1": none), new last offset,
--         the anchor that has to be there ("": any)
--       then for each study: Study Instance UID, rev as read ("": none), number of words W, then W words of HSET, which
--         begin with rev, its new value, time, Study Update DateTime; number of deleted fields D, then them; if there is a
--         side, the study's summary ("": the pair knows it by another UID, and it is compared later)
--         (W = 2: only the rev is renewed, so that whoever has read the study reads it again)
--       then number of debts, then for each: what is owed, its token as read, its new token ("": none)
-- Reply {"applied", studies moved up to the chain's start, studies updated before the latest cut}
--       {"offset", index of the partition (from 0), offset found}   nothing was written
--       {"anchor", index of the partition}                  what was left beside its offset is gone; nothing was written
--       {"rev"}                                             a study or debt is not as read; nothing was written

local PAGE = 2000 -- words of one command; Lua's stack holds 8000
local PAIR = 11 -- the first of its keys

local call, argv = redis.call, ARGV
local side = argv[1]
local studies = side == "" and PAIR or PAIR + PAIR_KEYS -- the first of their keys
local beside = side == "" and 0 or 1 -- words that only a pair wants
local partitions = tonumber(argv[2])
local at = 3
local offsets = {}
for p = 1, partitions do
  local field, expected, new, anchor = argv[at], argv[at + 1], argv[at + 2], argv[at + 3]
  local found = call("HGET", KEYS[1], field) or "-1"
  if found ~= expected then
    return {"offset", p - 1, tonumber(found)}
  end
  if anchor ~= "" and call("HGET", KEYS[7], field) ~= anchor then
    return {"anchor", p - 1}
  end
  offsets[2 * p - 1] = field
  offsets[2 * p] = new
  at = at + 4
end

local first = at
for k = studies, #KEYS do
  local rev, words = argv[at + 1], tonumber(argv[at + 2])
  if (call("HGET", KEYS[k], "rev") or "") ~= rev then
    return {"rev"}
  end
  at = at + 3 + words
  at = at + 1 + tonumber(argv[at]) + beside
end
local debts = tonumber(argv[at])
for d = 1, debts do
  if (call("HGET", KEYS[8], argv[at + 3 * d - 2]) or "") ~= argv[at + 3 * d - 1] then
    return {"rev"}
  end
end

local generation = call("GET", KEYS[4]) or "1"
local start = call("GET", KEYS[5])
start = start and tonumber(start)
local cut = tonumber(call("GET", KEYS[6]) or "0")
local moved, late, listed = 0, 0, 0
local updated, changed = {}, {}
local uids, summaries, elsewhere = {}, {}, {}
at = first
for k = studies, #KEYS do
  local uid, words = argv[at], tonumber(argv[at + 2])
  local from = at + 3
  at = from + words
  if words > 2 then
    local text = argv[from + 3]
    local time = tonumber(text)
    if time <= cut then
      late = late + 1
    end
    if start and time < start then
      text = string.format("%.0f", start)
      argv[from + 3] = text
      moved = moved + 1
    end
    updated[listed + 1], updated[listed + 2] = text, uid
    changed[listed + 1], changed[listed + 2] = generation, uid
    listed = listed + 2
  end
  call("HSET", KEYS[k], unpack(argv, from, at - 1))
  local deleted = tonumber(argv[at])
  if deleted > 0 then
    call("HDEL", KEYS[k], unpack(argv, at + 1, at + deleted))
  end
  at = at + 1 + deleted
  if beside == 1 then
    if words > 2 and argv[at] == "" then
      elsewhere[#elsewhere + 1] = uid
    elseif words > 2 then
      uids[#uids + 1] = uid
      summaries[#uids] = argv[at]
    end
    at = at + 1
  end
end
if #elsewhere > 0 then
  paged("SADD", KEYS[PAIR + UNCOMPARED - 1], elsewhere)
end
if #uids > 0 then
  local now = call("TIME")
  move_places({unpack(KEYS, PAIR, studies - 1)}, side, uids, summaries, now[1] * 1000000 + now[2])
end
for page = 1, listed, PAGE do
  local last = math.min(page + PAGE - 1, listed)
  call("ZADD", KEYS[2], unpack(updated, page, last))
  call("ZADD", KEYS[3], "NX", unpack(changed, page, last))
end
for d = 1, debts do
  local owed, before, after = unpack(argv, at + 3 * d - 2, at + 3 * d)
  if after == "" and before ~= "" then
    call("HDEL", KEYS[8], owed)
    call("ZREM", KEYS[9], owed)
    call("HDEL", KEYS[10], owed)
  elseif after ~= before then
    local now = call("TIME")
    call("HSET", KEYS[8], owed, after)
    call("ZADD", KEYS[9], now[1] * 1000000 + now[2], owed)
  end
end
if partitions > 0 then
  call("HSET", KEYS[1], unpack(offsets))
end
return {"applied", moved, late}
