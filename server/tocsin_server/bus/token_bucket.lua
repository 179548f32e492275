-- Takes tokens from a bucket that holds a second's worth and is full at first. The time is the server's.
-- KEYS: the bucket. ARGV: tokens a second; tokens already spent, taken in any case; tokens wanted, given if there.
-- Returns the tokens given, and as text what is left, which is below zero after too much was spent.
local rate, spent, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(known[1]) or rate, tonumber(known[2]) or now
tokens = math.min(rate, tokens + math.max(now - at, 0) / 1000000 * rate) - spent
local given = math.max(math.min(wanted, math.floor(tokens)), 0)
tokens = tokens - given
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now))
-- A bucket that is full again need not be known.
redis.call('PEXPIRE', KEYS[1], math.ceil((rate - tokens) / rate * 1000) + 1)
return {given, string.format('%.6f', tokens)}
