-- Charges a request to all of its windows, or to none of them.
--
-- KEYS: the instance's state, then the windows. ARGV: epoch, what the clock is expected to read in ms, how far that may
-- be wrong, then for each window: amount, limit, buckets, step.
-- Returns {'charged', news, acts, tick, used...}, {'full', news, acts, wait in ms or -1, used...}, {'lost'} or
-- {'jumped'}; `news` changes with the cooldowns, `acts` numbers charges and their changes, so it says what is newer.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'news', 'acts')
if state[1] ~= ARGV[1] then return {'lost'} end
if has_jumped(ARGV[2], ARGV[3]) then return {'jumped'} end

-- How long until an amount fits; -1 if it never will.
local function wait(key, newest, used, amount, limit, buckets)
    if amount > limit then return -1 end
    local slots = {}
    for tick = newest - buckets + 1, newest do slots[#slots + 1] = whole(tick % buckets) end
    for position, value in ipairs(redis.call('HMGET', key, unpack(slots))) do
        used = used - (tonumber(value) or 0)
        if used + amount <= limit then
            return math.max(1, (newest + position) * 100 - now_ms)
        end
    end
    return buckets * 100
end

local acts = tonumber(state[3]) or 0
local reply = {'charged', tonumber(state[2]) or 0, acts, now_tick}
local opened, longest = {}, 0
for position = 2, #KEYS do
    local at = (position - 2) * 4 + 4
    local key, amount = KEYS[position], tonumber(ARGV[at])
    local limit, buckets, step = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local newest, used, untold = open(key, buckets)
    opened[position] = {key, amount, buckets, step, newest, used, untold}
    reply[position + 3] = used
    -- Nothing always fits, even where more was used than had been reserved.
    if amount > 0 and used + amount > limit and longest >= 0 then
        local until_fits = wait(key, newest, used, amount, limit, buckets)
        longest = until_fits < 0 and -1 or math.max(longest, until_fits)
    end
end
local is_full = longest ~= 0
if not is_full then acts = redis.call('HINCRBY', KEYS[1], 'acts', 1) end
for position, window in pairs(opened) do
    local key, amount, buckets, step, newest, used, untold = unpack(window)
    if not is_full then
        redis.call('HINCRBY', key, whole(newest % buckets), whole(amount))
        used, untold = used + amount, untold + amount
        reply[position + 3] = used
        reply[4] = newest
    end
    close(KEYS[1], key, buckets, step, newest, used, untold, acts)
end
if is_full then
    reply[1] = 'full'
    reply[4] = longest
else
    reply[3] = acts
end
return reply
