-- Keeps the counts of an inbox, unless newer ones are there.
-- KEYS: the summary. ARGV: incarnation, revision, unread, unseen, total; the incarnation that was there before these were
-- read, empty for none; how long to keep them, in ms.
-- Returns 1 if they were kept.
local known = redis.call('HMGET', KEYS[1], 'incarnation', 'revision')
local revision, keep = tonumber(ARGV[2]), tonumber(ARGV[7])
if known[1] == ARGV[1] then
  local there = tonumber(known[2])
  if there > revision or (there == revision and redis.call('PTTL', KEYS[1]) > keep) then
    return 0
  end
elseif known[1] and known[1] ~= ARGV[6] then
  -- Of two incarnations nothing tells which is the newer one but that somebody has read one after the other.
  return 0
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'revision', ARGV[2],
  'unread', ARGV[3], 'unseen', ARGV[4], 'total', ARGV[5])
redis.call('PEXPIRE', KEYS[1], keep)
return 1
