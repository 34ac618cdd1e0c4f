"""Describes the machine that the comparison runs on."""

import os
import platform
import re
import subprocess
from pathlib import Path


def _facts() -> dict[str, str]:
    """Returns the lines of /proc/cpuinfo about the first processor."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def processor() -> str:
    """Returns the system's name of the processor, with family and model number where the name is vague."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True)
        return asked.stdout.strip()
    facts = _facts()
    name = facts.get("model name", platform.machine())
    family, model = facts.get("cpu family"), facts.get("model")
    return f"{name}, family {family} model {model}" if family and model else name


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """Returns a short name for a folder, such as `intel-xeon-6-207-2c`."""
    text = re.sub(
        r"\((R|TM)\)|\bCPU\b|\bProcessor\b|@.*?(?=,|$)|\bfamily\b|\bmodel\b", " ", processor(), flags=re.IGNORECASE
    )
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") + f"-{cores()}c"


def describe() -> str:
    """Describes the machine in one line, for a record."""
    return f"{processor()}, {cores()} cores, {platform.system()} {platform.machine()}"


def load() -> str:
    """Returns the load average of the last minute, as a measure of other programs' work."""
    return f"load average {os.getloadavg()[0]:.1f} at the start"
