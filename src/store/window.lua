-- What the scripts share: the clock and the sliding windows. Each script is this file and its own, one after the other.
--
-- A window is a hash: `newest` is the latest tick it has seen, `used` the sum, `untold` what was charged since the
-- replicas were last told the sum, and the other fields are the buckets of a ring, by tick modulo the number of buckets.
-- A bucket counts until it lies wholly outside the span, as in the window that one process keeps in memory. A window that
-- holds nothing need not be there.

local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now_tick = math.floor(now_ms / 100)

-- Numbers above 1e14 would else be written with an exponent, which nobody can add to.
local function whole(number) return string.format('%.0f', number) end

-- Says whether the clock is not what a replica expects it to be; one that expects nothing says 0. Had a failover or an
-- operator put it forward, the windows would seem to be empty.
local function has_jumped(expected, tolerance)
    return expected ~= '0' and math.abs(now_ms - expected) > tonumber(tolerance)
end

-- Moves a window on to this moment and returns its newest tick, its sum, and what the replicas were not told of.
local function open(key, buckets)
    local head = redis.call('HMGET', key, 'newest', 'used', 'untold')
    local newest, used, untold = tonumber(head[1]), tonumber(head[2]), tonumber(head[3]) or 0
    if not newest or now_tick - newest >= buckets then
        if newest then redis.call('DEL', key) end
        return now_tick, 0, 0
    end
    if newest - now_tick > 20 then
        -- The clock was put back, so what is in the window would not leave it. At the latest it does a span from now.
        redis.call('DEL', key)
        redis.call('HSET', key, whole(now_tick % buckets), whole(used))
        newest = now_tick
    end
    if now_tick > newest then
        local reused = {}
        for tick = newest + 1, now_tick do reused[#reused + 1] = whole(tick % buckets) end
        local is_any = false
        for _, value in ipairs(redis.call('HMGET', key, unpack(reused))) do
            if value then
                used = used - tonumber(value)
                is_any = true
            end
        end
        if is_any then redis.call('HDEL', key, unpack(reused)) end
        newest = now_tick
    end
    return newest, used, untold
end

-- Writes the head back and lets the window expire once nothing in it can count. Before it holds a `step` more than the
-- replicas know, they are told what it holds as of these acts; a user who may not publish does without.
local function close(channel, key, buckets, step, newest, used, untold, acts)
    if untold >= step then
        redis.pcall('PUBLISH', channel, table.concat({key, whole(used), whole(acts), ARGV[1]}, ' '))
        untold = 0
    end
    redis.call('HSET', key, 'newest', whole(newest), 'used', whole(used), 'untold', whole(untold))
    redis.call('PEXPIRE', key, whole((buckets + 50) * 100))
end
