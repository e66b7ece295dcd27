-- Asks the writer that leads for an inventory. Numbers rise above every one that was answered, also if the server has
-- lost its latest writes since: an answer to a request that is forgotten is none to those to come.
--
-- KEYS  1 requests
-- ARGV  1 "next", "baseline" or "rollup"
-- Reply the number of the request

local number = tonumber(redis.call("HGET", KEYS[1], "asked") or "0")
local answered = redis.call("HGET", KEYS[1], "answered")
if answered then
  number = math.max(number, cjson.decode(answered).number)
end
number = number + 1
redis.call("HSET", KEYS[1], "asked", number)
if ARGV[1] ~= "next" then
  redis.call("HSET", KEYS[1], "asked:" .. ARGV[1], number)
end
return number
