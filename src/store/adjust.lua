-- Brings changes to charges that were made before: settlements, and what was admitted while Redis was away.
--
-- A replica numbers what it tells. Told again, because the answer did not come in time, the same counts once.
--
-- KEYS: the instance's state, what this replica has told, then the windows.
-- ARGV: epoch, the milliseconds that the state lives, the number, then for each window: buckets, step, number of changes,
-- and the changes as tick and difference. Returns {'done', acts} or {'lost'}.

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'lost'} end

if tonumber(redis.call('HGET', KEYS[2], 'told') or 0) >= tonumber(ARGV[3]) then
    return {'done', tonumber(redis.call('HGET', KEYS[1], 'acts')) or 0}
end
redis.call('HSET', KEYS[2], 'told', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[2])

local acts = redis.call('HINCRBY', KEYS[1], 'acts', 1)
local at = 4
for position = 3, #KEYS do
    local key, buckets, step = KEYS[position], tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local changes = tonumber(ARGV[at + 2])
    at = at + 3
    local newest, used, untold = open(key, buckets)
    for _ = 1, changes do
        -- What another clock dates into the future is charged to this moment.
        local tick, difference = math.min(tonumber(ARGV[at]), newest), tonumber(ARGV[at + 1])
        at = at + 2
        if newest - tick < buckets then
            local slot = whole(tick % buckets)
            local held = tonumber(redis.call('HGET', key, slot)) or 0
            local change = math.max(difference, -held)
            redis.call('HSET', key, slot, whole(held + change))
            used = used + change
            untold = untold + math.max(change, 0)
        end
    end
    close(KEYS[1], key, buckets, step, newest, used, untold, acts)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'done', acts}
