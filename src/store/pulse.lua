-- A replica's heartbeat: it says that it lives, and hears what all of them use and which deployments cool.
--
-- KEYS: the instance's state, its replicas, its cooldowns, then the windows.
-- ARGV: epoch, name of the replica, milliseconds that a replica counts as live, milliseconds that the state lives, what
-- the clock is expected to read in ms, how far that may be wrong, 1 for whole windows, and the buckets of each window.
-- Returns {'lost'}, {'jumped'} or {'here', now in ms, live replicas, news, acts, cooldowns, windows...}; the last as their
-- hashes, which may be hundreds of fields, or else as their sums.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'news', 'acts', 'beat', 'steady')
if state[1] ~= ARGV[1] then return {'lost'} end
if has_jumped(ARGV[5], ARGV[6]) then return {'jumped'} end

-- Since when no heartbeat was further from the one before than a clock may stray.
local steady = tonumber(state[5]) or now_ms
if math.abs(now_ms - (tonumber(state[4]) or 0)) > tonumber(ARGV[6]) then steady = now_ms end
redis.call('HSET', KEYS[1], 'beat', whole(now_ms), 'steady', whole(steady))

redis.call('ZADD', KEYS[2], now_ms, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. whole(now_ms - ARGV[3]))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
-- A cooldown is remembered for a while after its end, so that all hear when somebody finds out that it is over.
local cooldowns = redis.call('HGETALL', KEYS[3])
for at = 2, #cooldowns, 2 do
    local ends = tonumber(string.match(cooldowns[at], '^%d+')) or 0
    if ends + 30000 < now_ms then redis.call('HDEL', KEYS[3], cooldowns[at - 1]) end
end
local news, acts = tonumber(state[2]) or 0, tonumber(state[3]) or 0
local reply = {'here', now_ms, redis.call('ZCARD', KEYS[2]), news, acts, cooldowns}
for position = 4, #KEYS do
    local key, buckets = KEYS[position], tonumber(ARGV[position + 4])
    if ARGV[7] == '1' then
        reply[#reply + 1] = redis.call('HGETALL', key)
    else
        local newest, used, untold = open(key, buckets)
        -- Written back, one that nobody uses would be kept for as long as any replica lives.
        if used == 0 then
            redis.call('DEL', key)
        else
            close(KEYS[1], key, buckets, math.huge, newest, used, untold, acts)
        end
        reply[#reply + 1] = used
    end
end
return reply
