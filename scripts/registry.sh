#!/usr/bin/env bash
# Starts and stops Debian's docker-registry on a loopback port.
#
#   registry.sh start DIR [--htpasswd USER PASSWORD] [--token REALM CERTIFICATE] [--port PORT]
#   registry.sh stop DIR
#
# start keeps the blobs in DIR/storage, writes DIR/address (127.0.0.1:PORT), DIR/pid and DIR/log, and returns when the
# registry answers; without --port a free one is taken. stop ends that process and leaves the blobs.
# Exit codes: 0 done; 1 it did not start; 2 wrong use, or a program is missing.
set -euo pipefail

usage() {
    sed -n '2,8p' "$0" >&2
    exit 2
}

need() {
    command -v "$1" >/dev/null || {
        echo "registry: $1 is missing: install the package $2 (scripts/setup-debian.sh run)" >&2
        exit 2
    }
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Whether the process in DIR/pid is the registry that start left there, and not a later owner of the number.
running() {
    [[ -s $dir/pid ]] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$dir/pid")/cmdline" | grep -qF "serve $dir/config.yml"
}

write_config() {
    cat >"$dir/config.yml" <<CONFIG
version: 0.1
log: { level: warn }
storage:
  filesystem: { rootdirectory: "$dir/storage" }
  delete: { enabled: true }
http: { addr: "$1" }
CONFIG
    [[ -z $realm ]] || cat >>"$dir/config.yml" <<CONFIG
auth:
  token: { realm: "$realm", service: registry.test, issuer: token-server.test, rootcertbundle: "$certificate" }
CONFIG
    [[ -n $user ]] || return 0
    htpasswd -Bbn "$user" "$password" >"$dir/htpasswd"
    echo "auth: { htpasswd: { realm: registry, path: \"$dir/htpasswd\" } }" >>"$dir/config.yml"
}

# Any answer, 401 too, is a registry that listens.
answers() {
    curl --silent --output /dev/null --max-time 2 --noproxy '*' "http://$1/v2/"
}

start() {
    need docker-registry docker-registry
    need curl curl
    need python3 python3
    [[ -z $user ]] || need htpasswd apache2-utils
    if running; then
        echo "registry: already running at $(cat "$dir/address")" >&2
        exit 1
    fi
    local address=127.0.0.1:${port:-$(free_port)} pid
    mkdir -p "$dir/storage"
    write_config "$address"
    # Keys of the environment would override the file (REGISTRY_HTTP_ADDR and the like).
    env -i PATH="$PATH" HOME="$dir" setsid docker-registry serve "$dir/config.yml" >>"$dir/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid"
    for _ in {1..200}; do
        if answers "$address"; then
            echo "$address" >"$dir/address"
            echo "registry: listening on $address"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        read -r -t 0.05 _ < <(tail -f /dev/null --pid=$$) || true
    done
    kill "$pid" 2>/dev/null || true
    tail -n 5 "$dir/log" >&2
    echo "registry: no answer on $address" >&2
    exit 1
}

stop() {
    if running; then
        local pid
        pid=$(cat "$dir/pid")
        kill "$pid"
        # The registry drains its connections; one that does not end is killed.
        timeout 10 tail --pid="$pid" -s 0.1 -f /dev/null || kill -9 "$pid"
    fi
    rm -f "$dir/pid" "$dir/address"
}

[[ $# -ge 2 ]] || usage
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
user='' password='' port='' realm='' certificate=''
while (($#)); do
    case $1 in
    --htpasswd)
        [[ $# -ge 3 ]] || usage
        user=$2 password=$3
        shift 3
        ;;
    --token)
        [[ $# -ge 3 ]] || usage
        realm=$2 certificate=$3
        shift 3
        ;;
    --port)
        [[ $# -ge 2 ]] || usage
        port=$2
        shift 2
        ;;
    *) usage ;;
    esac
done
case $verb in
start | stop) "$verb" ;;
*) usage ;;
esac
