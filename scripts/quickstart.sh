#!/usr/bin/env bash
# Builds mica and runs its main job on fixtures/helloworld, showing each command and checking each result.
#
#   scripts/quickstart.sh
#
# Needs root, Rust and a C compiler; on Debian it installs the rest (scripts/setup-debian.sh run), elsewhere it says
# what is missing. Everything it makes lives in one temporary directory and is gone when it ends.
#
# MICA=FILE             use this binary and build none
# QUICKSTART_BASE=hub   take python:3-slim from the hub instead of making it from Debian's packages
# QUICKSTART_PORT=PORT  publish this port instead of 4000 (or of a free one when 4000 is taken)
#
# Exit codes: 0 every check held; 1 one did not; 2 something is missing.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
work=''
checks=0
user=quick
password=start-$RANDOM$RANDOM

main() {
    prepare
    row_build
    row_look
    row_run
    row_exec
    row_options
    row_commit
    row_networks
    row_limits
    row_registry
    row_archives
    row_remove
    title "all $checks checks held"
}

# ---- what is shown, and how a check fails ----------------------------------------------------------------------

title() { printf '\n== %s\n' "$*"; }

fail() {
    printf '\nquickstart: failed: %s\n' "$*" >&2
    exit 1
}

held() {
    checks=$((checks + 1))
    printf '   ok: %s\n' "$*"
}

# A command line as a user would type it.
typed() {
    local word
    printf '\n$'
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]]; then
            printf ' %s' "$word"
        else
            printf " '%s'" "${word//\'/\'\\\'\'}"
        fi
    done
    printf '\n'
}

# Runs mica on the store `$store`, shows the command as a user would type it, and keeps the output.
mica() {
    typed mica "$@"
    status=0
    "$binary" --root "$work/$store/root" --runroot "$work/$store/run" "$@" 2>&1 </dev/null |
        tee "$work/output" || status=$?
    [[ $status == "${wanted:-0}" ]] || fail "mica $1 exited with $status, not ${wanted:-0}"
}

# As `mica`, where another exit code is right.
mica_exits() {
    local wanted=$1
    shift
    mica "$@"
    held "exit code $wanted"
}

# The output of a command that need not be shown.
quiet() { "$binary" --root "$work/$store/root" --runroot "$work/$store/run" "$@" </dev/null; }

shows() {
    grep -qF -- "$1" "$work/output" || fail "${2:-the output} lacks: $1"
    held "${2:-shows} $1"
}

answers() {
    [[ $1 == "$2" ]] || fail "${3:-the answer} is '$1', not '$2'"
    held "${3:-the answer} is $2"
}

# ---- preparation -----------------------------------------------------------------------------------------------

prepare() {
    ((EUID == 0)) || missing "needs root: this version builds and runs as root"
    if [[ -z ${MICA:-} ]]; then
        command -v cargo >/dev/null || missing "cargo is missing: install Rust (rustup) first"
        command -v cc >/dev/null || missing "a C compiler is missing: install gcc"
    fi
    title "packages"
    scripts/setup-debian.sh run
    title "mica"
    build_mica
    work=$(mktemp -d "${TMPDIR:-/tmp}/mica-quickstart.XXXXXX")
    trap cleanup EXIT
    trap 'exit 130' INT TERM
    store=first
    export DOCKER_CONFIG=$work/config
    port=${QUICKSTART_PORT:-$(free_port 4000)}
    title "registries"
    scripts/registry.sh start "$work/registry" --htpasswd "$user" "$password"
    registry=$(cat "$work/registry/address")
    [[ ${QUICKSTART_BASE:-} == hub ]] || start_hub
    # Behind a proxy that signs anew, pip needs the host's certificates during RUN; the image never holds them.
    export MICA_CA_BUNDLE=host
    echo 'export MICA_CA_BUNDLE=host'
}

missing() {
    echo "quickstart: $*" >&2
    exit 2
}

build_mica() {
    binary=${MICA:-}
    if [[ -z $binary ]]; then
        cargo build --release --package mica-cli
        binary=$(built_binary)
    fi
    [[ -x $binary ]] || fail "no mica binary at $binary"
    "$binary" --version
}

# With or without a target triple in the path, as cargo's configuration has it.
built_binary() {
    local target=${CARGO_TARGET_DIR:-target} candidate newest=''
    for candidate in "$target/release/mica" "$target"/*/release/mica; do
        if [[ -x $candidate && ( -z $newest || $candidate -nt $newest ) ]]; then
            newest=$candidate
        fi
    done
    echo "${newest:-$target/release/mica}"
}

free_port() {
    python3 - "$1" <<'PYTHON'
import socket, sys

for port in (int(sys.argv[1]), 0):
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", port))
            print(listener.getsockname()[1])
            break
    except OSError:
        continue
PYTHON
}

start_hub() {
    fixtures/base-images/make.sh python .cache/base-images/layout-quickstart
    scripts/registry.sh start "$work/hub"
    scripts/seed-registry.sh .cache/base-images/layout-quickstart "$(cat "$work/hub/address")"
    MICA_MIRROR=docker.io=$(cat "$work/hub/address")
    export MICA_MIRROR
    echo "export MICA_MIRROR=$MICA_MIRROR"
}

cleanup() {
    local code=$? container
    set +e
    for store in first second third; do
        [[ -d $work/$store ]] || continue
        for container in $(quiet ps -aq 2>/dev/null); do
            quiet rm -f "$container" >/dev/null 2>&1
        done
    done
    scripts/registry.sh stop "$work/registry" >/dev/null 2>&1
    scripts/registry.sh stop "$work/hub" >/dev/null 2>&1
    # Deepest first: whatever a failed run left mounted.
    awk -v work="$work/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r mount; do
            echo "quickstart: left mounted: $mount" >&2
            umount -l "$mount"
        done
    rm -rf "$work"
    exit "$code"
}

# ---- the table -------------------------------------------------------------------------------------------------

row_build() {
    title "build"
    mica build -t helloworld fixtures/helloworld
    local first
    first=$(quiet inspect --format '{{.Id}}' helloworld)
    title "build again: every step is reused"
    mica build -t helloworld fixtures/helloworld
    grep -qiE 'cached|using cache' "$work/output" || fail "the second build does not say CACHED"
    answers "$(quiet inspect --format '{{.Id}}' helloworld)" "$first" "the image's id"
    title "build with one file changed: what depends on it runs again"
    cp -r fixtures/helloworld "$work/changed"
    echo '# changed' >>"$work/changed/app.py"
    mica build -t helloworld:changed "$work/changed"
    [[ $(quiet inspect --format '{{.Id}}' helloworld:changed) != "$first" ]] || fail "the change made no new image"
    held "a new image"
}

row_look() {
    title "images, history, inspect, tag"
    mica images
    shows helloworld
    mica history helloworld
    shows 'pip install'
    mica inspect --format '{{json .Config.Cmd}}' helloworld
    shows '["python","app.py"]'
    mica inspect --format '{{range $port, $_ := .Config.ExposedPorts}}{{printf "%s" $port}}{{end}} {{.Config.WorkingDir}}' helloworld
    shows '80/tcp /app'
    mica tag helloworld user/helloworld:v1
    answers "$(quiet inspect --format '{{.Id}}' user/helloworld:v1)" \
        "$(quiet inspect --format '{{.Id}}' helloworld)" "the id of the new tag"
}

# Asks until the server is up; the last answer counts.
visit() {
    typed curl "$1"
    answer=$(curl --silent --noproxy '*' --retry 60 --retry-delay 1 --retry-connrefused \
        --retry-all-errors --max-time 60 "$1") || fail "no answer from $1"
    printf '%s\n' "$answer"
}

row_run() {
    title "run -d -p, curl, ps, logs"
    mica run -d --name web -p "$port:80" helloworld
    web=$(tail -n 1 "$work/output")
    visit "http://localhost:$port/"
    answers "$answer" "<h3>Hello World!</h3><b>Hostname:</b> ${web:0:12}<br/>" "curl's answer"
    mica ps
    shows "${web:0:12}"
    shows "$port->80/tcp"
    mica logs web
    shows 'GET / HTTP/1.1'
    mica inspect --format '{{ .State.Pid }}' web
    [[ -d /proc/$(tail -n 1 "$work/output") ]] || fail "no process of that number"
    held "a live process"
}

row_exec() {
    title "exec"
    mica exec web hostname
    shows "${web:0:12}"
    title "exec -it on a terminal"
    local command
    printf -v command '%q ' "$binary" --root "$work/$store/root" --runroot "$work/$store/run" \
        exec -it web /bin/sh -c 'tty && hostname'
    typed mica exec -it web /bin/sh -c 'tty && hostname'
    script --quiet --return --command "$command" "$work/typescript" </dev/null | tee "$work/output" ||
        fail "exec -it exited with an error"
    shows /dev/pts/
    shows "${web:0:12}"
}

row_options() {
    title "run --rm -e -w -v"
    mkdir -p "$work/data"
    mica run --rm -e NAME=mica -w /tmp -v "$work/data:/data" helloworld \
        sh -c 'echo "$NAME in $(pwd)" | tee /data/written'
    shows 'mica in /tmp'
    answers "$(cat "$work/data/written")" 'mica in /tmp' "the file in the bind mount"
}

row_commit() {
    title "commit"
    mica run --name editor -v /volume helloworld sh -c 'echo changed > /app/new; echo out > /volume/kept'
    mica commit editor user/helloworld:v2
    mica run --rm user/helloworld:v2 sh -c 'cat /app/new; echo "$(ls -A /volume | wc -l) files in /volume"'
    shows changed
    shows '0 files in /volume'
    mica rm -v editor
}

row_networks() {
    title "run --net container:, none, host"
    local interfaces='import socket; print(sorted(name for _, name in socket.if_nameindex()))'
    mica run --rm --net container:web helloworld \
        python -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1").read().decode())'
    shows "<b>Hostname:</b> ${web:0:12}"
    mica run --rm --net none helloworld python -c "$interfaces"
    shows "'lo'"
    ! grep -q eth "$work/output" || fail "--net none has an ethernet interface"
    mica run --rm --net host helloworld readlink /proc/self/ns/net
    shows "$(readlink /proc/self/ns/net)"
}

has_controller() {
    [[ -d /sys/fs/cgroup/$1 ]] || grep -qw "$1" /sys/fs/cgroup/cgroup.controllers 2>/dev/null
}

row_limits() {
    title "run -m --cpus --pids-limit"
    if ! has_controller memory || ! has_controller pids; then
        printf '   skipped: limits: this host has no memory or no pids cgroup controller\n'
        return
    fi
    mica_exits 137 run --name hungry -m 64m --cpus 0.5 --pids-limit 100 helloworld \
        python -c 'print(len(b"x" * (512 << 20)))'
    mica inspect --format 'killed for memory: {{.State.OOMKilled}}' hungry
    shows 'killed for memory: true'
    mica rm hungry
    mica_exits 2 run --rm --pids-limit 20 helloworld \
        sh -c 'n=0; while [ $n -lt 50 ]; do n=$((n+1)); sleep 1 & done; wait'
    shows 'annot fork'
}

row_registry() {
    title "login, push, pull into an empty store"
    typed mica login -u "$user" --password-stdin "$registry"
    "$binary" --root "$work/$store/root" --runroot "$work/$store/run" \
        login -u "$user" --password-stdin "$registry" <<<"$password" || fail "login was refused"
    grep -qF "\"$registry\"" "$work/config/config.json" || fail "config.json does not name $registry"
    held "the credentials are in config.json"
    mica tag helloworld "$registry/user/helloworld:v1"
    mica push "$registry/user/helloworld:v1"
    typed skopeo inspect "docker://$registry/user/helloworld:v1"
    skopeo inspect --tls-verify=false --creds "$user:$password" --format '{{.Digest}}' \
        "docker://$registry/user/helloworld:v1" || fail "skopeo does not accept what was pushed"
    held "skopeo reads it"
    store=second
    mica pull "$registry/user/helloworld:v1"
    mica run --rm "$registry/user/helloworld:v1" python -c 'import app; print(app.hello())'
    shows '<h3>Hello World!</h3>'
    store=first
}

row_archives() {
    title "save, load into an empty store"
    mica save -o "$work/helloworld.tar" helloworld
    typed skopeo inspect docker-archive:helloworld.tar
    skopeo inspect --format '{{.Digest}}' "docker-archive:$work/helloworld.tar" || fail "skopeo does not read the archive"
    held "skopeo reads it"
    store=third
    mica load -i "$work/helloworld.tar"
    mica run --rm helloworld python -c 'import app; print(app.hello())'
    shows '<h3>Hello World!</h3>'
    store=first
}

row_remove() {
    title "stop, rm, rmi"
    # As process 1 Python ignores SIGTERM, so the grace period is shortened.
    mica stop -t 2 web
    answers "$(quiet inspect --format '{{.State.Running}}' web)" false "running"
    mica rm web
    answers "$(quiet ps -aq)" '' "the list of containers"
    mica rmi user/helloworld:v2 user/helloworld:v1 helloworld:changed "$registry/user/helloworld:v1" helloworld
    ! quiet images | grep -q helloworld || fail "an image named helloworld is left"
    held "no image named helloworld is left"
}

main
