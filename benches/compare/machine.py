"""Which machine this is."""

import os
import platform
import re
import subprocess
from pathlib import Path


def _facts() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def processor() -> str:
    """The processor's model as the system names it, with family and model number where the name says little."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True)
        return asked.stdout.strip()
    facts = _facts()
    name = facts.get("model name", platform.machine())
    family, model = facts.get("cpu family"), facts.get("model")
    return f"{name}, family {family} model {model}" if family and model else name


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """A short name for a folder: `intel-xeon-6-207-2c`."""
    text = re.sub(
        r"\((R|TM)\)|\bCPU\b|\bProcessor\b|@.*?(?=,|$)|\bfamily\b|\bmodel\b", " ", processor(), flags=re.IGNORECASE
    )
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") + f"-{cores()}c"


def describe() -> str:
    """One line for a record."""
    return f"{processor()}, {cores()} cores, {platform.system()} {platform.machine()}"


def load() -> str:
    """What else runs: the load average of the last minute."""
    return f"load average {os.getloadavg()[0]:.1f} at the start"
