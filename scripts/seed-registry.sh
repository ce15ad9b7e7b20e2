#!/usr/bin/env bash
# Pushes the base images of an OCI image layout to a registry, as library/NAME:TAG: a stand-in for docker.io.
#
#   seed-registry.sh LAYOUT_DIR HOST:PORT [--creds USER:PASSWORD]
#
# Every image that the layout's index names is pushed. Exit codes: 0 done; 1 a push failed; 2 wrong use.
set -euo pipefail

[[ $# == 2 || ($# == 4 && $3 == --creds) ]] || {
    sed -n '2,6p' "$0" >&2
    exit 2
}
command -v skopeo >/dev/null || {
    echo "seed-registry: skopeo is missing: install the package skopeo (scripts/setup-debian.sh run)" >&2
    exit 2
}
layout=$1 registry=$2

names() {
    python3 - "$layout/index.json" <<'PYTHON'
import json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    for manifest in json.load(file)["manifests"]:
        name = manifest.get("annotations", {}).get("org.opencontainers.image.ref.name")
        if name:
            print(name)
PYTHON
}

# The images are made on this machine: no signature policy of the host applies to them.
policy=$(mktemp)
trap 'rm -f "$policy"' EXIT
echo '{ "default": [{ "type": "insecureAcceptAnything" }] }' >"$policy"
while read -r name; do
    skopeo --policy "$policy" copy --quiet --dest-tls-verify=false ${4:+--dest-creds "$4"} \
        "oci:$layout:$name" "docker://$registry/library/$name"
    echo "seed-registry: $registry/library/$name"
done < <(names)
