#!/usr/bin/env bash
# Installs the Debian packages that one purpose needs; only what is missing, and no service is started.
#
#   setup-debian.sh [run|test|bench]
#     run    what scripts/quickstart.sh needs (the default)
#     test   what the tests need besides
#     bench  what the benchmarks need besides
#
# Exit codes: 0 everything is there; 1 the installation failed; 2 not Debian or not root, with the list of what to install.
set -euo pipefail

run=(python3 curl ca-certificates iproute2 iptables nftables busybox-static debootstrap
    docker-registry apache2-utils skopeo)
peers=(buildah podman crun containernetworking-plugins docker.io umoci)
purpose=${1:-run}
case $purpose in
run) packages=("${run[@]}") ;;
test) packages=("${run[@]}" "${peers[@]}" tmux git openssh-client python3-venv qemu-user-static rpm xfsprogs
    chromium) ;;
bench) packages=("${run[@]}" "${peers[@]}" time python3-venv) ;;
*)
    sed -n '2,9p' "$0" >&2
    exit 2
    ;;
esac

command -v dpkg-query >/dev/null || {
    echo "setup: not a Debian machine; install the equivalents of: ${packages[*]}" >&2
    exit 2
}

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    echo "setup: all ${#packages[@]} packages for '$purpose' are installed"
    exit 0
fi
if ((EUID != 0)); then
    echo "setup: needs root to run: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 2
fi

# Installing a server must not start it: its port and its bridge would get in the way.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi

log=$(mktemp)
quietly() {
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "setup: failed: $*" >&2
        exit 1
    }
}
export DEBIAN_FRONTEND=noninteractive
echo "setup: apt-get update"
quietly apt-get update -q
echo "setup: apt-get install ${missing[*]}"
quietly apt-get install -qy --no-install-recommends "${missing[@]}"
rm -f "$log"
echo "setup: installed ${#missing[@]} packages"
