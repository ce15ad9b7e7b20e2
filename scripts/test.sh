#!/usr/bin/env bash
# Passes the tests, and everything else that CI asks for.
#
#   test.sh              set the machine up, then every check below
#   test.sh lint         formatting, clippy and documentation warnings, dependencies
#   test.sh unit         the tests of the libraries
#   test.sh e2e [WORD…]  the end-to-end tests whose name holds a WORD
#
# On Debian, as root, it installs what is missing; elsewhere it says what is needed.
# Exit codes: 0 all passed; 1 something failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

libraries=(oci dockerfile isolation store registry-client builder container inspect cli)

main() {
    case ${1:-all} in
    all)
        scripts/setup-debian.sh test || exit 1
        run lint
        run unit
        run e2e
        summary
        ;;
    lint | unit | e2e) "$@" ;;
    *)
        sed -n '2,10p' "$0" >&2
        exit 1
        ;;
    esac
}

failed=()
run() {
    echo "== $1"
    # A subshell of its own keeps `set -e` in force inside.
    if ! bash "$0" "$1"; then failed+=("$1"); fi
}

lint() {
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --quiet -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
    dependencies
}

# The advisory database is on the network: where it cannot be fetched, that one check is skipped, visibly.
dependencies() {

    command -v cargo-deny >/dev/null || {
        echo "installing cargo-deny"
        cargo install --quiet --locked --no-default-features cargo-deny
    }

    cargo deny --log-level error check bans licenses sources
    if cargo deny --log-level off fetch db >/dev/null 2>&1; then
        cargo deny --log-level error check advisories
    else
        echo "skipped: advisories: the advisory database cannot be fetched here"
    fi
}

unit() {
    local packages=()
    for library in "${libraries[@]}"; do packages+=(-p "mica-$library"); done
    cargo test --quiet "${packages[@]}" --no-fail-fast
}

# Without link-time optimisation the same program is built in half the time. The quickstart builds it with these
# settings, too, so nothing is built twice.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

e2e() {
    cargo build --release --quiet -p mica-cli
    cargo test --quiet -p mica-tests -- "$@"
}

summary() {
    if ((${#failed[@]})); then
        echo "FAILED: ${failed[*]}"
        exit 1
    fi
    echo "all checks passed"
}

main "$@"
