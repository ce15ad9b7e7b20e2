#!/usr/bin/env python3
"""Give the only image of an OCI layout an attestation, as BuildKit does:  attest-layout.py LAYOUT image|artifact [PREDICATE]

The name in the layout then leads to an index of both. The attestation's manifest has an image's configuration, or it is
an artifact about the image, as with BuildKit's `oci-artifact=true`. PREDICATE is JSON. Python 3 standard library only.
"""
import hashlib, json, os, sys

layout, form = sys.argv[1:3]
predicate = json.loads(sys.argv[3]) if sys.argv[3:] else {}
OCI = "application/vnd.oci."
PREDICATE = "https://slsa.dev/provenance/v0.2"


def put(media_type, content):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = hashlib.sha256(content).hexdigest()
    with open(os.path.join(layout, "blobs/sha256", digest), "wb") as out:
        out.write(content)
    return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}


def attestation(image):
    hex_digest = image["digest"].split(":")[1]
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": PREDICATE, "predicate": predicate,
                 "subject": [{"name": "app", "digest": {"sha256": hex_digest}}]}
    layer = put("application/vnd.in-toto+json", statement)
    manifest = {"schemaVersion": 2, "mediaType": OCI + "image.manifest.v1+json", "layers": [layer]}
    if form == "artifact":
        manifest["artifactType"] = "application/vnd.docker.attestation.manifest.v1+json"
        manifest["config"] = put(OCI + "empty.v1+json", b"{}")
        manifest["subject"] = {key: image[key] for key in ("mediaType", "digest", "size")}
    else:
        rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
        manifest["config"] = put(OCI + "image.config.v1+json", {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs})
    annotated = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
    layer["annotations"] = {"in-toto.io/predicate-type": PREDICATE}
    return {**put(OCI + "image.manifest.v1+json", manifest), "annotations": annotated, "platform": {"architecture": "unknown", "os": "unknown"}}


path = os.path.join(layout, "index.json")
index = json.load(open(path))
image = index["manifests"].pop()
name = image.pop("annotations")
config = json.load(open(os.path.join(layout, "blobs/sha256", image["digest"].split(":")[1])))["config"]["digest"]
config = json.load(open(os.path.join(layout, "blobs/sha256", config.split(":")[1])))
image["platform"] = {"architecture": config["architecture"], "os": config["os"]}
both = {"schemaVersion": 2, "mediaType": OCI + "image.index.v1+json", "manifests": [image, attestation(image)]}
index["manifests"].append({**put(OCI + "image.index.v1+json", both), "annotations": name})
json.dump(index, open(path, "w"))
