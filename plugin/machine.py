"""What this machine has: processors, instruction sets, memory, an NVIDIA driver; all asked of the system itself."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

# What the libraries underneath choose their code by; names as Linux spells them.
_INSTRUCTION_SETS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "asimd", "asimdhp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as its driver names it."""

    name: str
    memory_gib: float


def cpu_model() -> str:
    """The processor's name; "" where the system does not tell."""
    for label in ("model name", "Model", "Hardware"):
        for line in _lines(_CPUINFO):
            if line.startswith(label) and ":" in line:
                return line.split(":", 1)[1].strip()
    return platform.processor()


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_quota() -> float | None:
    """Processors' worth of time that a container grants; None: no limit, or none that can be read."""
    words = " ".join(_lines(_CGROUP / "cpu.max")).split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
        return int(words[0]) / int(words[1])
    return None


def instruction_sets() -> tuple[str, ...] | None:
    """Those that decide how fast arrays are worked on; None where the system does not list any."""
    for line in _lines(_CPUINFO):
        if line.startswith(("flags", "Features")):
            found = set(line.split(":", 1)[1].split())
            return tuple(name for name in _INSTRUCTION_SETS if name in found)
    return None


def memory_gib() -> tuple[float, float] | None:
    """Memory in all and memory free for use, GiB, within a container's limit; None where the system does not tell."""
    values = {}
    for line in _lines(_MEMINFO):
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable") and rest.split()[:1]:
            values[name] = int(rest.split()[0]) * 1024 / _GIB
    if len(values) != 2:
        return None
    total, available = values["MemTotal"], values["MemAvailable"]
    limit, used = ("".join(_lines(_CGROUP / name)).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        total = min(total, int(limit) / _GIB)
        available = min(available, max(int(limit) - int(used), 0) / _GIB)
    return total, available


def nvidia_gpus() -> tuple[str, tuple[Gpu, ...]]:
    """What the NVIDIA driver library says.

    Returns:
        What was found in words, and the GPUs. A library that is there but cannot be used gives none, and its error.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"none: there is no driver library {name}", ()
    error = int(driver.cuInit(0))
    if error:
        return f"driver library {name} is there, cuInit fails with error {error}", ()
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_gpu(driver, index) for index in range(count.value))
    return ", ".join(f"{gpu.name}, {gpu.memory_gib:.0f} GiB" for gpu in gpus) or f"none: {name} finds no device", gpus


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), memory.value / _GIB)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
