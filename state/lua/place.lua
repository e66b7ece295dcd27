-- How the two records of one study compare, and moving studies between the sets of a pair of repositories.
-- Other scripts begin with this text; it does nothing by itself.
--
-- Of each study of a pair one field of ``compared`` holds its place, the source's summary and the target's, a line each.
-- A summary (state/comparison.py) is three words with tabs between: the place that the study has while the other side
-- does not know it, with its group and day, such as M|CT,2026@20260921; what is compared: 8 digits of the rules, 1 if it
-- is live, 1 if it is in scope, then |CONTENT|ATTRIBUTES; and the number of its instances, with the rev after it where
-- the pair knows the study by another UID, so that no two of its summaries are alike.
--
-- Places: S in sync, M missing, I incomplete, D different, X extra, R removed at the source only, B removed on both (or
-- nothing was to be migrated), O out of scope, Q to be compared anew, since the two sides were told by other rules, and q
-- the same of one that was open. A set has each study by the moment since when it is open, or since when it is there.
--
-- The keys of a pair's shard: 1 compared   2 counts   3 flow   4 acknowledged   5.. the set of each place in LISTED
-- and, for a script that writes records, 13 the studies of its side that the pair knows by another UID, not compared yet

local LISTED = {M = 5, I = 6, D = 7, X = 8, R = 9, q = 10, Q = 11, O = 12}
local PAIR_KEYS = 13
local UNCOMPARED = 13
local OPEN = {M = true, I = true, D = true, X = true, R = true, q = true}
local BUCKETS = 8 -- of a lag, for each doubling; the first ends at a millisecond

-- The place of a study that both sides know, with the source's group and day.
local function place_of(source, target, was_open)
  local alone, core, instances = string.match(source, "^([^\t]*)\t([^\t]*)\t(.*)$")
  local other, others = string.match(target, "\t([^\t]*)\t(.*)$")
  local code
  if core == other then
    code = string.sub(alone, 1, 1)
    code = code == "M" and "S" or code
  elseif string.sub(core, 1, 8) ~= string.sub(other, 1, 8) then
    code = was_open and "q" or "Q"
  elseif string.sub(core, 10, 10) == "0" then
    code = "O"
  else
    local live, alive = string.sub(core, 9, 9) == "1", string.sub(other, 9, 9) == "1"
    if live and alive then
      local content, contents = string.match(core, "^[^|]*|([^|]*)"), string.match(other, "^[^|]*|([^|]*)")
      if content ~= contents then
        code = tonumber(string.match(others, "^%d+")) < tonumber(string.match(instances, "^%d+")) and "I" or "D"
      else
        code = string.match(core, "|([^|]*)$") == string.match(other, "|([^|]*)$") and "S" or "D"
      end
    else
      code = live and "M" or alive and "R" or "B"
    end
  end
  return code .. string.sub(alone, 2)
end

-- Adds to the counts: by place, by place and group, and by place and day while there is something to do about it.
local function add_counts(key, sums)
  local found = {}
  for place, by in pairs(sums) do
    local code, group, day = string.match(place, "^(%a)|(.*)@(.*)$")
    local names = {code, code .. "/" .. group, OPEN[code] and code .. "@" .. day or nil}
    for _, name in ipairs(names) do
      found[name] = (found[name] or 0) + by
    end
  end
  for name, by in pairs(found) do
    if by ~= 0 and redis.call("HINCRBY", key, name, by) == 0 then
      redis.call("HDEL", key, name) -- days come and go
    end
  end
end

-- A command on a list of words, some at a time: Lua's stack holds 8000.
local function paged(command, key, words)
  for first = 1, #words, 2000 do
    redis.call(command, key, unpack(words, first, math.min(first + 1999, #words)))
  end
end

-- What is compared of a summary, whatever the rules.
local function said(summary)
  return string.match(summary, "\t........([^\t]*)\t")
end

-- Takes the present summaries of studies on one side ("s" or "t") and moves the studies to their places. No study comes
-- twice. ``keys`` are the pair's, ``now`` UTC microseconds. What is written is gathered first: most of it is alike.
local function move_places(keys, side, uids, summaries, now)
  local is_source = side == "s"
  local changed, forgotten, counts, flow, seen = {}, {}, {}, {}, {}
  local added, removed = {}, {}
  for first = 1, #uids, 1000 do
    local last = math.min(first + 999, #uids)
    local found = redis.call("HMGET", keys[1], unpack(uids, first, last))
    for n = first, last do
      local uid, summary, known = uids[n], summaries[n], found[n - first + 1]
      local before, source, target, previous
      if known then
        before, source, target = string.match(known, "^([^\n]*)\n([^\n]*)\n(.*)$")
        previous = is_source and source or target
      end
      if summary ~= (previous or "") then
        local after
        local old = before and string.sub(before, 1, 1)
        local other = known and (is_source and target or source) or ""
        if is_source then
          source, target = summary, other
        else
          source, target = other, summary
        end
        if source == "" or target == "" then
          after = string.match(source .. target, "^[^\t]*") -- empty: neither side knows it
        else
          after = place_of(source, target, OPEN[old])
        end
        if after == "" then
          after = nil
          forgotten[#forgotten + 1] = uid
        else
          changed[#changed + 1] = uid
          changed[#changed + 1] = after .. "\n" .. source .. "\n" .. target
        end
        if OPEN[old] and (previous == "" or summary == "" or said(summary) ~= said(previous)) then
          seen[#seen + 1] = uid -- somebody has seen something else
        end
        if after ~= before then
          if before then
            counts[before] = (counts[before] or 0) - 1
          end
          if after then
            counts[after] = (counts[after] or 0) + 1
          end
        end
        local new = after and string.sub(after, 1, 1)
        if old ~= new then
          local since = now
          if OPEN[old] then
            since = tonumber(redis.call("ZSCORE", keys[LISTED[old]], uid) or now)
            if not OPEN[new] then
              local lag = math.max((now - since) / 1000, 1)
              local bucket = math.floor(now / 3600000000) .. ":" .. math.floor(math.log(lag) / math.log(2) * BUCKETS)
              flow[bucket] = (flow[bucket] or 0) + 1
              flow.settled = (flow.settled or 0) + 1
              since = now
            end
          elseif OPEN[new] then
            flow.arrived = (flow.arrived or 0) + 1
          end
          if LISTED[old] then
            removed[old] = removed[old] or {}
            table.insert(removed[old], uid)
          end
          if LISTED[new] then
            local words = added[new] or {}
            added[new] = words
            words[#words + 1] = since
            words[#words + 1] = uid
          end
        end
      end
    end
  end
  paged("HSET", keys[1], changed)
  paged("HDEL", keys[1], forgotten)
  add_counts(keys[2], counts)
  for code, words in pairs(removed) do
    paged("ZREM", keys[LISTED[code]], words)
  end
  for code, words in pairs(added) do
    paged("ZADD", keys[LISTED[code]], words)
  end
  for name, by in pairs(flow) do
    redis.call("HINCRBY", keys[3], name, by)
  end
  if #seen > 0 and redis.call("EXISTS", keys[4]) == 1 then
    paged("HDEL", keys[4], seen)
  end
end
