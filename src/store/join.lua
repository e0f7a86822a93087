-- Lets a replica in, or in again after a fault.
--
-- The epoch is the mark by which replicas see that Redis still has what they told it. Whoever finds none sets its own; so
-- does who finds that Redis has gone back to an older copy, or has another clock, and then everybody tells all again.
-- `opens` is when the windows can be relied on: while replicas come back one after another, what the others admitted
-- meanwhile may not have been told yet.
--
-- Where the clock is ahead of what this replica expects, either Redis's was put forward or its own stood still, as when
-- its machine slept. Heartbeats of others all the while, none far from the one before, say that it was its own.
--
-- KEYS: the instance's state, its replicas, its cooldowns, then the windows. ARGV: epoch to set if there is none;
-- milliseconds that the state lives; milliseconds until the windows open; 1 if this replica has admitted anything that it
-- has not told; the epoch and the acts that it knows; what it expects the clock to read, and how far that may be wrong;
-- what it read when this replica last heard.
-- Returns {epoch, now in ms, milliseconds until the windows open, acts}.

local head = redis.call('HMGET', KEYS[1], 'epoch', 'opens', 'acts', 'beat', 'steady')
local epoch, opens, acts = head[1], tonumber(head[2]) or 0, tonumber(head[3]) or 0
local is_older = acts < tonumber(ARGV[6])
local is_witnessed = now_ms > tonumber(ARGV[7]) and now_ms - (tonumber(head[4]) or 0) <= tonumber(ARGV[8])
    and (tonumber(head[5]) or now_ms) <= tonumber(ARGV[9])
local is_other = not is_witnessed and has_jumped(ARGV[7], ARGV[8])
if epoch and epoch == ARGV[5] and (is_older or is_other) then epoch = false end
if not epoch then
    -- What is left of it would count twice, since all tell it again.
    redis.call('DEL', unpack(KEYS))
    epoch, acts = ARGV[1], 0
    opens = now_ms + tonumber(ARGV[3])
elseif ARGV[4] == '1' then
    opens = math.max(opens, now_ms + tonumber(ARGV[3]))
end
-- Another clock may have written it.
opens = math.min(opens, now_ms + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'epoch', epoch, 'opens', whole(opens), 'acts', whole(acts))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {epoch, now_ms, math.max(0, opens - now_ms), acts}
