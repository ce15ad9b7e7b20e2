"""The servers that a comparison needs: dockerd in private directories, two registries, a mount namespace."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCKER = "/usr/bin/docker"
START_LIMIT = 60


def wait_until(ready, process, what, log):
    deadline = time.monotonic() + START_LIMIT
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise RuntimeError(f"{what} does not start: " + "".join(file.readlines()[-3:]).strip())
        time.sleep(0.02)


def stop(process, signal_number=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(signal_number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Registry:
    """Debian's docker-registry, started by scripts/registry.sh."""

    def __init__(self, directory):
        self.directory = directory
        script = os.path.join(REPOSITORY, "scripts", "registry.sh")
        subprocess.run([script, "start", directory], check=True, stdout=subprocess.DEVNULL)
        self.address = self._read("address")
        # The script has ended, so the registry is a child of this subreaper.
        self.pid = int(self._read("pid"))

    def _read(self, name):
        with open(os.path.join(self.directory, name), encoding="utf-8") as file:
            return file.read().strip()

    def empty(self):
        """Forgets every image: the registry keeps no state but its files."""
        shutil.rmtree(os.path.join(self.directory, "storage", "docker"), ignore_errors=True)

    def has(self, name, tag):
        try:
            self.manifest(name, tag)
            return True
        except urllib.error.HTTPError:
            return False

    def layers(self, name, tag):
        """The digests of an image's layers, bottom first."""
        return [layer["digest"] for layer in self.manifest(name, tag)["layers"]]

    def manifest(self, name, tag):
        request = urllib.request.Request(f"http://{self.address}/v2/{name}/manifests/{tag}")
        # Without these the registry hides OCI manifests.
        kinds = ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2")
        request.add_header("Accept", ", ".join(f"application/vnd.{kind}+json" for kind in kinds))
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Dockerd:
    """Debian's dockerd with its own containerd: private directories and socket, no bridge, no firewall rules."""

    def __init__(self, directory):
        os.makedirs(directory)
        self.socket = f"unix://{directory}/docker.sock"
        log = os.path.join(directory, "log")
        argv = ["dockerd", f"--host={self.socket}", f"--pidfile={directory}/pid"]
        argv += [f"--data-root={directory}/data", f"--exec-root={directory}/exec", "--storage-driver=overlay2"]
        argv += ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        argv += ["--cgroup-parent=/mica-bench"]
        with open(log, "wb") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(self._answers, self.process, "dockerd", log)

    def _answers(self):
        argv = [DOCKER, "--host", self.socket, "version"]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def close(self):
        stop(self.process)


class MountNamespace:
    """A mount namespace without the cgroup v2 tree that hybrid hosts have beside v1.

    crun refuses to start while that tree has controllers ("cgroups in hybrid mode not supported"); without it the
    host is plain v1 to crun. On other hosts nothing is made and `path` is empty.
    """

    def __init__(self):
        self.process, self.path = None, ""
        if not os.path.isdir("/sys/fs/cgroup/unified"):
            return
        script = "umount /sys/fs/cgroup/unified && echo ready && exec sleep infinity"
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("no mount namespace without cgroup v2")
        self.path = f"/proc/{self.process.pid}/ns/mnt"

    def pids(self):
        return [self.process.pid] if self.process else []

    def close(self):
        if self.process:
            stop(self.process)
