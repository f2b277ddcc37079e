"""What a measurement was made on, and how busy that was."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name as Linux tells it, else as Python knows it, and how many CPUs may be used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cpus()} CPUs"


def hardware(device: str) -> str:
    """The processor, and the GPU if ``device`` is one."""
    if not device.startswith("cuda"):
        return processor()
    import torch

    return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda}); {processor()}"


def load() -> float | None:
    """How many processes wanted a CPU over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def resident() -> int | None:
    """Most bytes that this process ever had in memory, everything included; None where Linux does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return 1024 * int(found[1]) if found else None
