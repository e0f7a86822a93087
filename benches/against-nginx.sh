#!/usr/bin/env bash
# CPU time per request of the proxy and of nginx as a bare reverse proxy, in turn, over simulated resources; then the
# latency of one connection.
#
#     benches/against-nginx.sh [BINARY] [SECONDS] [ROUNDS] [FORWARDER]
#
# Needs a release build, nginx and wrk (Debian: nginx-light, wrk). Everything listens on 127.0.0.1 and stops at the end.
# nginx: two workers, upstream keepalive, proxy_buffering off (streams need it), no access log, otherwise as it comes:
# a body over 16 KB goes through a file there, which is most of its cost at 100 KB (client_body_buffer_size avoids it).
# The proxy: two workers, and beside it (proxy1) one, limiter, counting and the log line per request on. FORWARDER, a build of benches/forward.rs
# (cargo bench --no-run --bench forward names it), shows what the proxy's HTTP server and client cost by themselves.
# Prints every run; quote the median ratio.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly binary=${1:-target/release/azure-openai-proxy} seconds=${2:-4} rounds=${3:-5} forwarder=${4:-}
# Answers at once; streams with 5 ms between two events.
readonly fast=3901 paced=3902
readonly azure_path='/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21'
scratch=$(mktemp -d)
# nginx's workers are another user, and write large bodies to files.
chmod 755 "$scratch"
mkdir -m 777 "$scratch/body"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$scratch"' EXIT

# An nginx server on port $1 for the upstream on port $2.
server() {
    printf 'upstream azure%d { server 127.0.0.1:%d; keepalive 256; }\n' "$2" "$2"
    printf 'server { listen 127.0.0.1:%d; keepalive_requests 1000000; location / {\n' "$1"
    printf 'proxy_pass http://azure%d; proxy_http_version 1.1; ' "$2"
    printf 'proxy_set_header Connection ""; proxy_buffering off; } }\n'
}

cat >"$scratch/nginx.conf" <<CONF
worker_processes 2; daemon off; pid $scratch/nginx.pid; error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off; client_max_body_size 64m;
  client_body_temp_path $scratch/body; proxy_temp_path $scratch/proxy;
  fastcgi_temp_path $scratch/f; uwsgi_temp_path $scratch/u; scgi_temp_path $scratch/s;
  $(server 3911 $fast) $(server 3912 $paced)
}
CONF

# Starts a proxy on port $1 for the upstream on port $2, with $3 workers.
proxy() {
    env -i AZURE_INSTANCES=a,b AZURE_ROUTING_STRATEGY=round_robin TOKEN_RATE_LIMIT=100000000000 \
        AZURE_INSTANCE_A_API_KEY=simulated-key AZURE_INSTANCE_A_API_BASE="http://127.0.0.1:$2" \
        AZURE_INSTANCE_B_API_KEY=simulated-key AZURE_INSTANCE_B_API_BASE="http://127.0.0.1:$2" \
        AZURE_INSTANCE_A_API_VERSION=2024-10-21 AZURE_INSTANCE_B_API_VERSION=2024-10-21 \
        HOST=127.0.0.1 PORT="$1" WORKERS="$3" "$binary" 2>"$scratch/proxy$1.log" &
    pids+=($!)
    processes[$1]=$!
}

# What wrk posts: a chat with a prompt of $1 bytes, a stream if $2 says so, to path $3.
lua() {
    local text members='"max_tokens":20'
    text=$(yes 'The quick brown fox jumps over the lazy dog and reads a changelog. ' | tr -d '\n' | head -c "$1" || true)
    # The simulated resource repeats the prompt, so this is a stream of some 200 events.
    [[ $2 == stream ]] && members='"max_tokens":200,"stream":true'
    printf 'wrk.method = "POST"\nwrk.path = "%s"\n' "$3"
    printf 'wrk.headers["content-type"] = "application/json"\nwrk.headers["api-key"] = "simulated-key"\n'
    printf 'wrk.body = [==[{"model":"gpt-4o",%s,"messages":[{"role":"user","content":"%s"}]}]==]\n' "$members" "$text"
}

# CPU ticks of processes so far, user and system.
ticks() {
    local sum=0 pid fields
    for pid in "$@"; do
        read -ra fields <<<"$(sed 's/.*) //' "/proc/$pid/stat")"
        sum=$((sum + fields[11] + fields[12]))
    done
    echo "$sum"
}

# One run: $1 name, $2 port, $3 connections, $4 what is measured.
run() {
    local before after requests measured
    mapfile -t measured < <(pgrep -P "${processes[$2]}" || echo "${processes[$2]}")
    before=$(ticks "${measured[@]}")
    wrk -t1 -c"$3" -d"${seconds}s" --latency -s "$scratch/$1.lua" "http://127.0.0.1:$2" >"$scratch/wrk.txt"
    after=$(ticks "${measured[@]}")
    requests=$(awk '/requests in/ {print $1}' "$scratch/wrk.txt")
    awk -v n="$1" -v what="$4" -v c="$3" -v t=$((after - before)) -v r="$requests" -v hz="$(getconf CLK_TCK)" \
        '/^ +50%/ {p = $2} END {
            printf "%-7s %-7s %2d connections: %7d requests, %8.1f us of CPU each, median %s\n", n, what, c, r, t / hz / r * 1e6, p }' \
        "$scratch/wrk.txt"
    grep Non-2xx "$scratch/wrk.txt" || true
}

# All contestants in turn: $1 bytes, $2 stream or whole, $3 connections, $4 what is measured, $5 1 or 2: which upstream.
round() {
    lua "$1" "$2" "$azure_path" | tee "$scratch/direct.lua" "$scratch/forward.lua" >"$scratch/nginx.lua"
    lua "$1" "$2" /v1/chat/completions | tee "$scratch/proxy1.lua" >"$scratch/proxy.lua"
    run nginx "391$5" "$3" "$4"
    [[ -z $forwarder ]] || run forward "393$5" "$3" "$4"
    run proxy "392$5" "$3" "$4"
    run proxy1 "394$5" "$3" "$4"
}

declare -A processes
for port in $fast $paced; do
    "$binary" simulate --port $port --first-byte-ms 0 --per-chunk-ms $((port == paced ? 5 : 0)) \
        --deployment gpt-4o=gpt-4o:1000000000000 >/dev/null 2>&1 &
    pids+=($!)
    processes[$port]=$!
done
nginx -c "$scratch/nginx.conf" &
pids+=($!)
processes[3911]=$!
processes[3912]=$!
for which in 1 2; do
    proxy 392$which 390$which 2
    proxy 394$which 390$which 1
    if [[ -n $forwarder ]]; then
        "$forwarder" 393$which "http://127.0.0.1:390$which" &
        pids+=($!)
        processes[393$which]=$!
    fi
done
sleep 1

for ((n = 1; n <= rounds; n++)); do
    round 1000 whole 50 '1 KB' 1
    round 100000 whole 20 '100 KB' 1
    round 1000 stream 50 stream 2
    round 1000 whole 1 '1 KB' 1
    run direct $fast 1 '1 KB'
done
