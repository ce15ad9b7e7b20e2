"""The facts of the machine that go above every table."""

import datetime
import os
import platform
import statistics
import subprocess

from measure import Command, run


def first_line(path, key):
    """The value of the first `key: value` line of a file of /proc, or an empty text."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def system_name():
    with open("/etc/os-release", encoding="utf-8") as file:
        values = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return values.get("PRETTY_NAME", "").strip('"')


def cgroups():
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "cgroup v2"
    return "cgroup v1" + (" with a v2 tree beside it" if os.path.isdir("/sys/fs/cgroup/unified") else "")


def facts(directory):
    """What a reader needs to judge the figures, by name."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True).stdout
    memory = int(first_line("/proc/meminfo", "MemTotal").split()[0]) // 1024
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{first_line('/proc/cpuinfo', 'model name') or platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory} MB",
        "system": f"{system_name()}, Linux {platform.release()}, {cgroups()}",
        "stores": f"on {kind.strip()}",
        "load": f"{os.getloadavg()[0]:.2f} when the run began",
    }


def harness_cost(kept):
    """What measuring itself adds to every wall time: `true` run the same way."""
    walls = [run(Command(["/bin/true"]), (), kept).wall for _ in range(21)]
    return f"{statistics.median(walls) * 1000:.1f} ms of every wall time are the measuring itself"
