-- Publishes how far one partition is applied. The watermark never goes back.
--
-- KEYS  1 watermarks
-- ARGV  1 field `<topic id>:<partition>`   2 watermark (UTC microseconds)   3 last offset applied   4 clock
-- Reply the watermark now in force

local found = redis.call("HGET", KEYS[1], ARGV[1])
local watermark = tonumber(ARGV[2])
if found then
  local before = cjson.decode(found)
  if before.watermark > watermark then
    watermark = before.watermark
  end
end
local text = string.format('{"watermark":%.0f,"offset":%s,"asked":%s}', watermark, ARGV[3], ARGV[4])
redis.call("HSET", KEYS[1], ARGV[1], text)
return text
