"""What is measured: each workload prepares its input from a seed, then names the commands to time.

Content comes from a fixed seed, so every run and every machine builds the same; where a step must not be cached, a
nonce goes in, made of the peer's name and the number of the run.
"""

import os
import random
import shutil

from measure import Command
from peers import BASE

MEGABYTE = 1 << 20


def seeded_block(seed):
    """One megabyte, a quarter noise and the rest text of few letters: gzip makes it about 65 % of its size."""
    generator = random.Random(seed)
    text = generator.randbytes(MEGABYTE * 3 // 8).hex().encode()
    return generator.randbytes(MEGABYTE // 4) + text


def write_file(path, megabytes, seed):
    with open(path, "wb") as file:
        for number in range(megabytes):
            file.write(seeded_block(f"{seed}/{number}"))


def write_tree(directory, files, seed):
    """Small files, 100 to a directory, 0 to 4 KB each."""
    generator = random.Random(seed)
    for number in range(files):
        parent = os.path.join(directory, f"directory{number // 100:04}")
        if number % 100 == 0:
            os.makedirs(parent)
        with open(os.path.join(parent, f"file{number:06}.txt"), "wb") as file:
            file.write(generator.randbytes(generator.randint(0, 2048)).hex().encode())


class Workload:
    """One comparison. `steps` are timed one after the other; the rest is not."""

    name = ""
    title = ""
    peers = ("mica", "docker", "docker-legacy", "podman", "buildah")
    # How many more runs than asked for: short commands vary more.
    factor = 1

    def __init__(self, bench):
        self.bench = bench
        self.directory = os.path.join(bench.directory, "work-" + self.name)

    def size(self, full, quick):
        return quick if self.bench.quick else full

    def dockerfile(self, *lines):
        text = [f"FROM {self.bench.source.address}/{BASE}", *lines]
        os.makedirs(self.directory, exist_ok=True)
        with open(os.path.join(self.directory, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write("\n".join(text) + "\n")

    def prepare(self):
        """Once, before any peer."""

    def first(self, peer):
        """Once for each peer, before its first run."""
        peer.fresh()

    def before(self, peer, run):
        """Before each run."""

    def steps(self, peer):
        """(label, Command) of what is timed."""
        return [("", peer.build(self.directory, f"bench/{self.name}"))]

    def floor(self, peer):
        """What the peer `floor` runs in place of the steps."""
        raise NotImplementedError

    def timed(self, peer):
        return [("", self.floor(peer))] if peer.name == "floor" else self.steps(peer)

    def after(self, peer):
        """After each run."""

    def last(self, peer):
        """Once for each peer, after its last run."""
        peer.clean()

    def finish(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class NoopBuild(Workload):
    name = "noop-build"
    title = "build again with nothing changed (1,000 files in the context)"

    def prepare(self):
        lines = ["WORKDIR /app", "COPY . /app", "RUN touch /built", "ENV NAME=World", "EXPOSE 80", 'CMD ["true"]']
        self.dockerfile(*lines)
        write_tree(os.path.join(self.directory, "source"), self.size(1000, 200), self.name)

    def first(self, peer):
        peer.fresh()
        # Twice: a file changed within the last instant may not be taken as unchanged.
        for _ in range(2):
            self.bench.quietly(peer.build(self.directory, f"bench/{self.name}"))


class OneFileChanged(NoopBuild):
    name = "one-file-changed"
    title = "build with one of 1,000 files changed (COPY and one RUN run again)"

    def before(self, peer, run):
        path = os.path.join(self.directory, "source", "directory0000", "file000042.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{peer.name} {run}\n")


class Run30(Workload):
    name = "run30"
    title = "30 RUN instructions, half `true`, half `touch`, nothing cached"

    def before(self, peer, run):
        runs = [f"RUN {'true' if number % 2 else f'touch /file{number}'}" for number in range(30)]
        self.dockerfile(f"ENV NONCE={peer.name}-{run}", *runs)


class Layer500(Workload):
    name = "layer500"
    title = "a 500 MB layer built and pushed to a registry"

    def prepare(self):
        self.dockerfile("COPY blob /blob")
        write_file(os.path.join(self.directory, "blob"), self.size(500, 20), self.name)

    def before(self, peer, run):
        self.bench.target.empty()
        peer.fresh()
        with open(os.path.join(self.directory, "blob"), "r+b") as file:
            file.write(f"{peer.name} {run}".ljust(64).encode())

    def steps(self, peer):
        reference = f"{self.bench.target.address}/bench/layer500:{peer.name}"
        return [("build", peer.build(self.directory, reference)), ("push", peer.push(reference))]

    def after(self, peer):
        if not self.bench.target.has("bench/layer500", peer.name):
            raise RuntimeError("the registry does not hold what was pushed")
        self.bench.target.empty()
        peer.clean()


class Run500(Workload):
    name = "run500"
    title = "RUN of a command that writes a 500 MB file"
    peers = Workload.peers + ("floor",)
    generator = "dd if=/dev/urandom of={} bs=1M count={} status=none"

    def before(self, peer, run):
        made = self.generator.format("/blob", self.size(500, 20))
        self.dockerfile(f"RUN : {peer.name} {run}; {made}")
        peer.fresh()

    def floor(self, peer):
        made = self.generator.format('"$1/blob"', self.size(500, 20))
        return peer.script("exec busybox " + made)

    def after(self, peer):
        peer.clean()


class Copy50kCold(Workload):
    name = "copy50k-cold"
    title = "COPY of 50,000 small files into an empty store"
    peers = Workload.peers + ("floor",)

    def prepare(self):
        self.dockerfile("COPY source /source")
        write_tree(os.path.join(self.directory, "source"), self.size(50000, 2000), "copy50k")

    def first(self, peer):
        """Each run starts from an empty store."""

    def before(self, peer, run):
        peer.fresh()

    def floor(self, peer):
        return peer.script('exec cp -a "$2" "$1/copy"', os.path.join(self.directory, "source"))

    def after(self, peer):
        peer.clean()


class Copy50kUnchanged(Copy50kCold):
    name = "copy50k-unchanged"
    title = "COPY of 50,000 small files again, unchanged"
    peers = Workload.peers

    def first(self, peer):
        peer.fresh()
        for _ in range(2):
            self.bench.quietly(peer.build(self.directory, f"bench/{self.name}"))

    def before(self, peer, run):
        """The store stays as the last build left it."""

    def after(self, peer):
        """As before."""


class Parallel4(Workload):
    name = "parallel4"
    title = "four stages of two seconds each, joined by a fifth"

    def before(self, peer, run):
        base = f"FROM {self.bench.source.address}/{BASE}"
        lines = [f"ENV NONCE={peer.name}-{run}"]
        for stage in range(4):
            lines += [f"{base} AS stage{stage}", f"RUN sleep 2; echo {peer.name}-{run}-{stage} > /result{stage}"]
        lines += [base] + [f"COPY --from=stage{stage} /result{stage} /" for stage in range(4)]
        self.dockerfile(*lines)


class Pull430(Workload):
    name = "pull430"
    title = "pull of a six-layer 430 MB image into an empty store"
    peers = ("mica", "docker", "podman", "buildah", "skopeo", "skopeo+umoci", "floor")
    # Megabytes of each layer: one large, as a distribution's, and smaller ones above.
    layers = (150, 100, 80, 60, 30, 10)

    def prepare(self):
        sizes = [self.size(megabytes, 1 + megabytes // 10) for megabytes in self.layers]
        self.reference = self.bench.six_layers(self.directory, sizes, self.write_layer)

    @staticmethod
    def write_layer(directory, number, megabytes):
        """Half of the layer in 1 MB files, half in a single one."""
        os.makedirs(directory)
        write_file(os.path.join(directory, "large"), megabytes // 2, f"large{number}")
        for part in range(megabytes - megabytes // 2):
            write_file(os.path.join(directory, f"part{part}"), 1, f"part{number}/{part}")

    def first(self, peer):
        """Each run starts from an empty store."""

    def before(self, peer, run):
        peer.clean()

    def steps(self, peer):
        return [("", peer.pull(self.reference))]

    def floor(self, peer):
        """Layer by layer into one directory, unverified."""
        host, _, name = self.reference.partition("/")
        name, _, tag = name.partition(":")
        layers = self.bench.source.layers(name, tag)
        urls = [f"http://{host}/v2/{name}/blobs/{digest}" for digest in layers]
        loop = 'directory=$1; shift; mkdir -p "$directory"; for url; do curl -sfL "$url" | gunzip | tar -x -C "$directory"; done'
        return peer.script(loop, *urls)

    def after(self, peer):
        peer.clean()


class Push430(Pull430):
    name = "push430"
    title = "push of a six-layer 430 MB image to an empty registry"
    peers = ("mica", "docker", "podman", "buildah", "skopeo")

    def first(self, peer):
        peer.clean()
        peer.quietly_pull(self.reference)
        self.pushed = f"{self.bench.target.address}/bench/six:latest"
        peer.tag(self.reference, self.pushed)

    def before(self, peer, run):
        self.bench.target.empty()

    def steps(self, peer):
        return [("", peer.push(self.pushed))]

    def after(self, peer):
        if not self.bench.target.has("bench/six", "latest"):
            raise RuntimeError("the registry does not hold what was pushed")
        self.bench.target.empty()


class Layers430(Pull430):
    name = "layers430"
    title = "a look at the layers of a six-layer 430 MB docker archive (`mica layers`, `dive --ci`), nothing cached"
    peers = ("mica", "dive")

    def prepare(self):
        super().prepare()
        self.archive = os.path.join(self.directory, "six.tar")
        os.makedirs(self.directory, exist_ok=True)
        target = f"docker-archive:{self.archive}:six:latest"
        self.bench.quietly(Command(["skopeo", "copy", "--src-tls-verify=false", f"docker://{self.reference}", target]))

    def steps(self, peer):
        return [("", peer.layers(self.archive))]


class Ls50k(Workload):
    name = "ls50k"
    title = "every file of a layer of 50,000 with its facts: `mica ls -R --format json` from the kept index, `tar -tv` of the layer"
    peers = ("mica", "floor")
    factor = 3

    def prepare(self):
        tree, self.layer = (os.path.join(self.directory, name) for name in ("tree", "layer.tar"))
        layout = os.path.join(self.directory, "layout")
        self.image = f"{layout}:files"
        write_tree(tree, self.size(50000, 2000), self.name)
        for argv in (
            ["tar", "--format=posix", "-C", tree, "-cf", self.layer, "."],
            ["umoci", "init", "--layout", layout],
            ["umoci", "new", "--image", self.image],
            ["umoci", "raw", "add-layer", "--image", self.image, self.layer],
        ):
            self.bench.quietly(Command(argv))

    def first(self, peer):
        """The first look reads the layer and keeps its index."""
        peer.clean()
        if peer.name != "floor":
            self.bench.quietly(peer.files(self.image))

    def steps(self, peer):
        return [("", peer.files(self.image))]

    def floor(self, peer):
        return peer.script('exec tar -tvf "$2"', self.layer)


class Load50k(Ls50k):
    name = "load50k"
    title = "a docker archive with a layer of 50,000 files into an empty store; `tar -x` of the layer"
    peers = ("mica", "docker", "podman", "buildah", "floor")
    factor = 1

    def prepare(self):
        super().prepare()
        self.archive = os.path.join(self.directory, "files.tar")
        self.bench.quietly(Command(["skopeo", "copy", f"oci:{self.image}", f"docker-archive:{self.archive}:files:latest"]))

    def first(self, peer):
        """Each run starts from an empty store."""

    def before(self, peer, run):
        peer.clean()

    def steps(self, peer):
        return [("", peer.load(self.archive))]

    def floor(self, peer):
        return peer.script('mkdir -p "$1"; exec tar -xf "$2" -C "$1"', self.layer)

    def after(self, peer):
        peer.clean()


class PushAgain(Push430):
    name = "push-again"
    title = "push of a six-layer 430 MB image to a registry that has it"
    factor = 3

    def first(self, peer):
        super().first(peer)
        self.bench.quietly(peer.push(self.pushed))

    def before(self, peer, run):
        """The registry stays as the push left it."""

    def after(self, peer):
        """As before."""

    def last(self, peer):
        super().last(peer)
        self.bench.target.empty()


class Copy430(Pull430):
    name = "copy430"
    title = "a six-layer 430 MB image from one registry to another"
    peers = ("mica", "skopeo", "floor")

    # Blob after blob through a pipe, without a look at a digest; then the manifest.
    pipes = """
        from=$2; to=$3; tag=$4; type=$5; shift 5
        for digest; do
            place=$(curl -sf -X POST -D - -o /dev/null "$to/blobs/uploads/" | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
            case $place in *\\?*) place="$place&digest=$digest" ;; *) place="$place?digest=$digest" ;; esac
            curl -sf "$from/blobs/$digest" | curl -sf -X PUT -H 'Content-Type: application/octet-stream' -T - "$place"
        done
        curl -sf -H "Accept: $type" "$from/manifests/$tag" |
            curl -sf -X PUT -H "Content-Type: $type" --data-binary @- "$to/manifests/$tag"
    """

    def before(self, peer, run):
        self.bench.target.empty()

    def floor(self, peer):
        host, _, name = self.reference.partition("/")
        name, _, tag = name.partition(":")
        manifest = self.bench.source.manifest(name, tag)
        digests = [blob["digest"] for blob in [manifest["config"], *manifest["layers"]]]
        ends = [f"http://{host}/v2/{name}", f"http://{self.bench.target.address}/v2/bench/six"]
        return peer.script(self.pipes, *ends, tag, manifest["mediaType"], *digests)

    def steps(self, peer):
        return [("", peer.copy(self.reference, f"{self.bench.target.address}/bench/six:latest"))]

    def after(self, peer):
        if not self.bench.target.has("bench/six", "latest"):
            raise RuntimeError("the registry does not hold what was copied")
        self.bench.target.empty()


class StartTrue(Workload):
    name = "start-true"
    title = "`run --rm --network none busybox true`"
    peers = ("mica", "docker", "podman", "crun")
    factor = 5

    def first(self, peer):
        peer.fresh()
        self.bench.quietly(peer.run_true())

    def steps(self, peer):
        return [("", peer.run_true())]


WORKLOADS = (
    NoopBuild,
    OneFileChanged,
    Run30,
    Layer500,
    Run500,
    Copy50kCold,
    Copy50kUnchanged,
    Parallel4,
    Pull430,
    Push430,
    PushAgain,
    Copy430,
    Layers430,
    Ls50k,
    Load50k,
    StartTrue,
)
