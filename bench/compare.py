#!/usr/bin/env python3
"""Runs mica and its peers on the same workloads, in turn, and writes the tables and the plot."""

import argparse
import dataclasses
import fnmatch
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import machine
import report
from measure import Command, Failed, become_subreaper, run, run_quietly
from peers import PEERS
from servers import REPOSITORY, Dockerd, MountNamespace, Registry
from workloads import WORKLOADS

# Locks and control groups of podman and dockerd.
CGROUP_ROOTS = [entry.path for entry in os.scandir("/sys/fs/cgroup") if entry.is_dir()] + ["/sys/fs/cgroup"]
TRACES = ["/dev/shm/libpod_lock"]
TRACES += [os.path.join(root, name) for root in CGROUP_ROOTS for name in ("mica-bench", "libpod_parent")]
BUDGET_HELP = "a peer that took this long on a workload gets no further sample (default: 8 with --only, else no limit)"


@dataclasses.dataclass
class Row:
    """The figures of one peer on one step of one workload."""

    workload: str
    title: str
    peer: str
    samples: list
    reason: str = ""

    def median(self, field):
        return statistics.median(getattr(sample, field) for sample in self.samples) if self.samples else None


class Bench:
    """What all workloads share: the directory, the registries, one dockerd for each peer that asks."""

    def __init__(self, directory, options):
        self.directory, self.quick, self.mica = directory, options.quick, options.mica
        self.home = os.path.join(directory, "home")
        self.base_layout = os.path.join(directory, "base")
        os.makedirs(self.home)
        self._dockerds = {}
        self._servers = []
        self.without_v2 = self._keep(MountNamespace())
        self.source = self._keep(Registry(os.path.join(directory, "source")))
        self.target = self._keep(Registry(os.path.join(directory, "target")))
        self._seed()

    def _keep(self, server):
        self._servers.append(server)
        return server

    def _seed(self):
        make = os.path.join(REPOSITORY, "fixtures", "base-images", "make.sh")
        seed = os.path.join(REPOSITORY, "scripts", "seed-registry.sh")
        subprocess.run([make, "busybox", self.base_layout], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([seed, self.base_layout, self.source.address], check=True, stdout=subprocess.DEVNULL)

    def dockerd(self, name):
        """The daemon of one peer: two peers on one daemon would prune each other's cache."""
        if name not in self._dockerds:
            self._dockerds[name] = self._keep(Dockerd(os.path.join(self.directory, f"dockerd-{name}")))
        return self._dockerds[name]

    def kept(self):
        """Children of this process that outlive a measured command."""
        pids = [self.source.pid, self.target.pid, *self.without_v2.pids()]
        return pids + [server.process.pid for server in self._dockerds.values()]

    def quietly(self, command):
        run_quietly(command, self.kept())

    def six_layers(self, directory, sizes, write_layer):
        """Makes an image of seeded layers in the source registry, unless it is there, and gives its reference."""
        reference = f"{self.source.address}/bench/six:latest"
        if self.source.has("bench/six", "latest"):
            return reference
        tool = os.path.join(REPOSITORY, "fixtures", "base-images", "oci_layout.py")
        layout, layers = os.path.join(directory, "layout"), []
        for number, megabytes in enumerate(sizes):
            tree = os.path.join(directory, "tree")
            write_layer(os.path.join(tree, f"layer{number}"), number, megabytes)
            argv = [tool, "layer", tree, layout]
            layers.append(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
            shutil.rmtree(tree)
        settings = os.path.join(directory, "settings.json")
        with open(settings, "w", encoding="utf-8") as file:
            steps = ", ".join(f'{{"created_by": "layer {number}"}}' for number in range(len(sizes)))
            file.write(f'{{"config": {{"Cmd": ["true"]}}, "history": [{steps}]}}')
        subprocess.run([tool, "image", layout, "six:latest", settings, *layers], check=True)
        argv = ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:six:latest", f"docker://{reference}"]
        self.quietly(Command(argv))
        shutil.rmtree(layout)
        return reference

    def close(self):
        for server in reversed(self._servers):
            server.close()


class Comparison:
    """One workload under way: which peers still run, and their samples."""

    def __init__(self, bench, workload, peers, runs, budget):
        self.bench, self.workload, self.peers = bench, workload, peers
        self.runs, self.budget = runs * workload.factor, budget
        self.samples, self.failures = {}, {}

    def guarded(self, peer, action):
        """Runs a part of the workload; a failure ends this peer's part and is kept as the reason."""
        if peer.name in self.failures:
            return
        try:
            action()
        except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as error:
            self.failures[peer.name] = str(error)
            print(f"  {peer.name}: failed: {error}", flush=True)

    def measure(self, peer, number):
        self.workload.before(peer, number)
        total, steps = None, []
        for label, command in self.workload.timed(peer):
            sample = run(command, peer.daemons(), self.bench.kept())
            steps.append((label, sample))
            total = sample if total is None else total.plus(sample)
        self.workload.after(peer)
        if len(steps) > 1:
            for label, sample in steps:
                self.samples.setdefault((peer.name, label), []).append(sample)
        self.samples.setdefault((peer.name, ""), []).append(total)
        print(f"  {peer.name} {number + 1}: {total.wall:.3f} s", flush=True)

    def may_go_on(self, peer):
        """Whether the peer's samples so far leave some of its budget of wall seconds."""
        return sum(sample.wall for sample in self.samples.get((peer.name, ""), [])) < self.budget

    def rows(self):
        labels = dict.fromkeys([""] + [label for _, label in self.samples])
        for label in labels:
            name = f"{self.workload.name}/{label}" if label else self.workload.name
            for peer in self.peers:
                reason = self.failures.get(peer.name, "")
                samples = [] if reason else self.samples.get((peer.name, label), [])
                yield Row(name, self.workload.title, peer.name, samples, reason)

    def compare(self):
        print(f"{self.workload.name}: {self.workload.title}", flush=True)
        self.workload.prepare()
        for peer in self.peers:
            self.guarded(peer, peer.start)
            self.guarded(peer, lambda peer=peer: self.workload.first(peer))
        for number in range(self.runs):
            for peer in filter(self.may_go_on, self.peers):
                self.guarded(peer, lambda peer=peer: self.measure(peer, number))
        for peer in self.peers:
            self.guarded(peer, lambda peer=peer: self.workload.last(peer))
        self.workload.finish()
        return list(self.rows())


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", metavar="GLOB", help="workloads, such as run30 or 'copy50k-*'")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="A,B", help="default: %(default)s")
    parser.add_argument("--runs", type=int, metavar="N", help="samples of each (default 5; 1 with --quick)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help=BUDGET_HELP)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes and one sample: does it work at all")
    parser.add_argument("--name", help="of the files in the results directory (default: the workload, or all)")
    parser.add_argument("--results", default=os.path.join(REPOSITORY, "bench", "results"), metavar="DIR")
    parser.add_argument("--mica", default=os.environ.get("MICA") or default_binary(), metavar="FILE")
    parser.add_argument("--list", action="store_true", help="list workloads and peers")
    chosen = parser.parse_args()
    chosen.runs = chosen.runs or (1 if chosen.quick else 5)
    if chosen.budget is None:
        chosen.budget = math.inf if chosen.only == "*" else 8.0
    unknown = [name for name in chosen.peers.split(",") if name not in PEERS]
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}")
    return chosen


def default_binary():
    """The newest release build, with or without a target triple in its path."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPOSITORY, "target"))
    places = [os.path.join(target, "release", "mica")]
    if os.path.isdir(target):
        places += [os.path.join(target, entry, "release", "mica") for entry in os.listdir(target)]
    return max(filter(os.path.exists, places), key=os.path.getmtime, default=places[0])


def memory_directory():
    """A directory on tmpfs, and what to undo to be rid of it."""
    if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True).stdout.strip() == "tmpfs":
        directory = tempfile.mkdtemp(prefix="mica-bench.", dir="/dev/shm")
        return directory, lambda: None
    directory = tempfile.mkdtemp(prefix="mica-bench.")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "bench", directory], check=True)
    return directory, lambda: subprocess.run(["umount", "-l", directory], check=False)


def remove(directory, unmount):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounted = [line.split()[1] for line in file]
    for path in sorted((path for path in mounted if path.startswith(directory + "/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=False)
    unmount()
    shutil.rmtree(directory, ignore_errors=True)


def remove_traces(paths):
    """Removes what peers leave outside their stores, where it was not there before."""
    for path in paths:
        if os.path.isfile(path):
            os.remove(path)
        for parent, _, _ in os.walk(path, topdown=False):
            # A control group's files go with it.
            if path.startswith("/sys/fs/cgroup"):
                os.rmdir(parent)


def compare_all(chosen, workloads, directory):
    rows = []
    bench = Bench(directory, chosen)
    try:
        names = chosen.peers.split(",")
        peers = {name: PEERS[name](bench) for name in names}
        facts = machine.facts(directory)
        facts["harness"] = machine.harness_cost(bench.kept())
        for kind in workloads:
            wanted = [peers[name] for name in kind.peers if name in peers]
            rows += Comparison(bench, kind(bench), wanted, chosen.runs, chosen.budget).compare()
        facts["versions"] = {peer.name: (peer.description, peer.version()) for peer in peers.values()}
    finally:
        bench.close()
    return rows, facts


def main():
    chosen = options()
    workloads = [kind for kind in WORKLOADS if fnmatch.fnmatch(kind.name, chosen.only)]
    if chosen.list or not workloads:
        print("workloads:", *(f"  {kind.name:18} {kind.title}" for kind in WORKLOADS), sep="\n")
        print("peers:", *PEERS)
        sys.exit(0 if chosen.list else 2)
    become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    traces = [path for path in TRACES if not os.path.exists(path)]
    directory, unmount = memory_directory()
    try:
        rows, facts = compare_all(chosen, workloads, directory)
    finally:
        remove(directory, unmount)
        remove_traces(traces)
    facts["run"] = f"{chosen.runs} samples a peer, in turn" + (", --quick sizes" if chosen.quick else "")
    name = chosen.name or ("all" if chosen.only == "*" else "".join(c for c in chosen.only if c.isalnum() or c in "-_"))
    for path in report.write(os.path.join(chosen.results, name or "some"), rows, facts):
        print(path)


if __name__ == "__main__":
    main()
