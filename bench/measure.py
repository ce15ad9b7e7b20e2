"""Runs one command and measures it: wall seconds, CPU seconds of the whole process tree, peak memory.

CPU counts the command, every process it waited for, every process it left behind (this process is a subreaper, so
orphans such as conmon come here and are waited for), and what the peer's daemons and their children used meanwhile
(from /proc/PID/stat, in ticks of 10 ms). Peak memory is the largest resident set of any one process among all of
these: GNU time's for the command, VmHWM (reset before) for daemons.
"""

import ctypes
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
TICK = os.sysconf("SC_CLK_TCK")
# A command that takes longer has failed.
TIME_LIMIT = 600
# Orphans that do not end within this time are left to the clean-up.
ORPHAN_LIMIT = 5
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A command of a workload exited with an error; the text says why."""


@dataclasses.dataclass
class Command:
    """What to run: arguments, variables besides the fixed ones, and the mount namespace to run in."""

    argv: list
    variables: dict = dataclasses.field(default_factory=dict)
    mount_namespace: str = ""


@dataclasses.dataclass
class Sample:
    wall: float
    cpu: float
    peak: int  # bytes

    def plus(self, other):
        return Sample(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


def become_subreaper():
    if LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def environment(command):
    """A fixed environment: nothing of the caller's settings (proxies, builders, colours) reaches a peer."""
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    base["TERM"] = "dumb"
    return base | command.variables


def entering(namespace):
    """The step before exec that joins a mount namespace, or None."""
    if not namespace:
        return None
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)

    def enter():
        if LIBC.setns(descriptor, CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")

    enter.descriptor = descriptor
    return enter


def children(pid):
    """The live children of a process."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def descendants(pid):
    found = [pid]
    for child in children(pid):
        found += descendants(child)
    return found


def cpu_of(pid):
    """CPU seconds of a live process and of the children it waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICK


def cpu_of_trees(pids):
    return sum(cpu_of(pid) for root in pids for pid in descendants(root))


def reset_peaks(pids):
    for root in pids:
        for pid in descendants(root):
            try:
                with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
                    file.write("5")
            except OSError:
                continue


def peak_of_trees(pids):
    peaks = [0]
    for root in pids:
        for pid in descendants(root):
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                    peaks += [int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return max(peaks)


def reap_orphans(kept):
    """Waits for what the command left behind; gives its CPU seconds and the largest resident set in bytes."""
    cpu, peak, deadline = 0.0, 0, time.monotonic() + ORPHAN_LIMIT
    while time.monotonic() < deadline:
        orphans = [pid for pid in children(os.getpid()) if pid not in kept]
        if not orphans:
            break
        for pid in orphans:
            try:
                done, _, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if done:
                cpu += usage.ru_utime + usage.ru_stime
                peak = max(peak, usage.ru_maxrss * 1024)
        time.sleep(0.001)
    return cpu, peak


def explain(command, status, output):
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    wanted = [line for line in lines if "rror" in line] or lines or ["no output"]
    return f"{os.path.basename(command.argv[0])} exited with {status}: {wanted[-1].strip()[:300]}"


def timed(command, output, peak_file):
    """Runs the command under GNU time, which knows its peak memory; gives exit code, wall and CPU seconds."""
    argv = ["/usr/bin/time", "--quiet", "--format=%M", f"--output={peak_file}", *command.argv]
    enter = entering(command.mount_namespace)
    start = time.perf_counter()
    process = subprocess.Popen(
        argv,
        env=environment(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=enter,
    )
    killer = threading.Timer(TIME_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if enter:
        os.close(enter.descriptor)
    return process.returncode, wall, usage.ru_utime + usage.ru_stime


def run(command, daemons=(), kept=()):
    """Runs and measures a command; `daemons` are its peer's, `kept` are children of ours that live on."""
    daemons = list(daemons)
    reset_peaks(daemons)
    before = cpu_of_trees(daemons)
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as peak_file:
        status, wall, cpu = timed(command, output, peak_file.name)
        orphan_cpu, orphan_peak = reap_orphans(set(kept) | set(daemons))
        output.seek(0)
        text = output.read()
        peak = peak_file.read().split()
    if status != 0:
        raise Failed(explain(command, status, text))
    cpu += orphan_cpu + max(0.0, cpu_of_trees(daemons) - before)
    own_peak = int(peak[-1]) * 1024 if peak else 0
    return Sample(wall, cpu, max(own_peak, orphan_peak, peak_of_trees(daemons)))


def run_quietly(command, kept=()):
    """Runs a command that prepares or cleans; its time is nobody's."""
    run(command, (), kept)
