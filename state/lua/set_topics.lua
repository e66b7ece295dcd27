-- Says which topics a repository has, as a consumer saw them. Consumers may have looked at different moments: of a topic
-- made anew the later look counts, of the same topic the larger number of partitions. Moments are the server's, so that
-- the consumers' clocks need not agree. A topic is forgotten when no consumer has named it for a minute.
--
-- A consumer that works on another schema than the state has is told so: this is said every few seconds, so one that
-- runs on while the state is migrated is stopped, at no cost to the path of events.
--
-- KEYS  1 topics   2 settings
-- ARGV  1 the consumer's schema   2 how long ago it looked (microseconds)
--       then any number of times: topic, topic id, partitions
-- Reply how many topics were made anew since they were named last
--       the state's schema, if it is another; nothing was written

local FORGET = 60 * 1000000

local schema = redis.call("HGET", KEYS[2], "schema")
if schema and schema ~= ARGV[1] then
  return schema
end
local time = redis.call("TIME")
local looked = time[1] * 1000000 + time[2] - ARGV[2]
local named, anew = {}, 0
for i = 3, #ARGV, 3 do
  local name, id, partitions = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  named[name] = true
  local found = redis.call("HGET", KEYS[1], name)
  local before = found and cjson.decode(found)
  local newest = looked
  if before and before.id == id then
    partitions = math.max(partitions, before.partitions)
    newest = math.max(looked, before.looked or 0)
  end
  if not before or before.id == id or looked >= (before.looked or 0) then
    local text = '{"id":%s,"partitions":%d,"looked":%.0f}'
    redis.call("HSET", KEYS[1], name, string.format(text, cjson.encode(id), partitions, newest))
    if before and before.id ~= id then
      anew = anew + 1
    end
  end
end
local all = redis.call("HGETALL", KEYS[1])
for i = 1, #all, 2 do
  if not named[all[i]] and looked - (cjson.decode(all[i + 1]).looked or 0) > FORGET then
    redis.call("HDEL", KEYS[1], all[i])
  end
end
return anew
