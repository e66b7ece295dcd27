-- Publishes how far one partition is applied. Neither the watermark nor the offset that it stands for goes back: an
-- owner of the partition that was replaced may still publish, and events may be applied again on purpose.
--
-- KEYS  1 watermarks
-- ARGV  1 field `<topic id>:<partition>`   2 watermark (UTC microseconds)   3 last offset applied   4 clock
--       5 latest heartbeat, 0 if none are expected, -1 if none has come yet
-- Reply the progress now in force, as JSON

local watermark, offset, asked = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local heartbeat = tonumber(ARGV[5])
local found = redis.call("HGET", KEYS[1], ARGV[1])
if found then
  local before = cjson.decode(found)
  watermark = math.max(watermark, before.watermark)
  offset = math.max(offset, before.offset)
  asked = math.max(asked, before.asked)
  if heartbeat ~= 0 then
    heartbeat = math.max(heartbeat, before.heartbeat or 0)
    heartbeat = heartbeat == 0 and -1 or heartbeat
  end
end
local text = string.format(
  '{"watermark":%.0f,"offset":%.0f,"asked":%.0f,"heartbeat":%.0f}', watermark, offset, asked, heartbeat)
redis.call("HSET", KEYS[1], ARGV[1], text)
return text
