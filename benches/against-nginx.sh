#!/usr/bin/env bash
# CPU seconds per 1,000 requests of the proxy and of nginx as a bare reverse proxy, in turn, over one simulated resource.
#
# Needs a release build, nginx and wrk (Debian: nginx-light, wrk). Everything listens on 127.0.0.1 and stops at the end.
# nginx: two workers, upstream keepalive, proxy_buffering off (streams need it), no access log, otherwise as it comes:
# a body over 16 KB goes through a file there, which is most of its cost at 100 KB (client_body_buffer_size avoids it).
# The proxy: two workers, limiter, counting and the log line per request on. Prints every run; quote the median ratio.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly binary=${1:-target/release/azure-openai-proxy} seconds=${2:-4} rounds=${3:-5}
readonly upstream=3901 nginx=3902 proxy=3903
scratch=$(mktemp -d)
# nginx's workers are another user, and write large bodies to files.
chmod 755 "$scratch"
mkdir -m 777 "$scratch/body"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$scratch"' EXIT

cat >"$scratch/nginx.conf" <<EOF
worker_processes 2; daemon off; pid $scratch/nginx.pid; error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off; client_max_body_size 64m;
  client_body_temp_path $scratch/body; proxy_temp_path $scratch/proxy;
  fastcgi_temp_path $scratch/f; uwsgi_temp_path $scratch/u; scgi_temp_path $scratch/s;
  upstream azure { server 127.0.0.1:$upstream; keepalive 256; }
  server {
    listen 127.0.0.1:$nginx; keepalive_requests 1000000;
    location / { proxy_pass http://azure; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}
EOF

# A chat request with a prompt of $1 bytes, for wrk to post to $2.
lua() {
    local text
    text=$(yes 'The quick brown fox jumps over the lazy dog and reads a changelog. ' | tr -d '\n' | head -c "$1" || true)
    printf 'wrk.method = "POST"\nwrk.path = "%s"\n' "$2"
    printf 'wrk.headers["content-type"] = "application/json"\nwrk.headers["api-key"] = "simulated-key"\n'
    printf 'wrk.body = [==[{"model":"gpt-4o","max_tokens":20,"messages":[{"role":"user","content":"%s"}]}]==]\n' "$text"
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

"$binary" simulate --port $upstream --first-byte-ms 0 --per-chunk-ms 0 --deployment gpt-4o=gpt-4o:1000000000000 \
    >/dev/null 2>&1 &
pids+=($!)
nginx -c "$scratch/nginx.conf" &
nginx_pid=$!
pids+=("$nginx_pid")
env -i AZURE_INSTANCES=a,b AZURE_ROUTING_STRATEGY=round_robin TOKEN_RATE_LIMIT=100000000000 \
    AZURE_INSTANCE_A_API_KEY=simulated-key AZURE_INSTANCE_A_API_BASE=http://127.0.0.1:$upstream \
    AZURE_INSTANCE_B_API_KEY=simulated-key AZURE_INSTANCE_B_API_BASE=http://127.0.0.1:$upstream \
    AZURE_INSTANCE_A_API_VERSION=2024-10-21 AZURE_INSTANCE_B_API_VERSION=2024-10-21 \
    HOST=127.0.0.1 PORT=$proxy WORKERS=2 "$binary" 2>"$scratch/proxy.log" &
proxy_pid=$!
pids+=("$proxy_pid")
sleep 1

for bytes in 1000 100000; do
    connections=$((bytes > 1000 ? 20 : 50))
    lua $bytes '/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21' >"$scratch/$nginx.lua"
    lua $bytes /v1/chat/completions >"$scratch/$proxy.lua"
    for ((round = 1; round <= rounds; round++)); do
        for port in $nginx $proxy; do
            measured=("$proxy_pid")
            name=proxy
            if ((port == nginx)); then
                mapfile -t measured < <(pgrep -P "$nginx_pid")
                name=nginx
            fi
            before=$(ticks "${measured[@]}")
            wrk -t1 -c$connections -d"${seconds}s" -s "$scratch/$port.lua" "http://127.0.0.1:$port" >"$scratch/wrk.txt"
            after=$(ticks "${measured[@]}")
            requests=$(awk '/requests in/ {print $1}' "$scratch/wrk.txt")
            awk -v n="$name" -v b=$bytes -v c=$connections -v t=$((after - before)) -v r="$requests" \
                -v hz="$(getconf CLK_TCK)" 'BEGIN {
                    printf "%-5s %6d bytes %2d connections: %7d requests, %.4f CPU s per 1000\n", n, b, c, r, t / hz / r * 1000 }'
            grep Non-2xx "$scratch/wrk.txt" || true
        done
    done
done
