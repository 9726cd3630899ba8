"""What is installed, whether it works, and what `stpn propagate` would use; every line is measured here and now."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from stpn.plugin import machine
from stpn.plugin.request import Request, RequestError

OK = "ok"
WARNING = "warning"
ERROR = "error"

_PYTHON = (3, 11)
# Distribution, the name it is imported by, and what is lost without it; "" where nothing runs without it.
_PACKAGES = (
    ("numpy", "numpy", ""),
    ("torch", "torch", ""),
    ("OpenEXR", "OpenEXR", ""),
    ("OpenImageIO", "OpenImageIO", ""),
    ("opencolorio", "PyOpenColorIO", ""),
    ("numba", "numba", ""),
    ("opencv-python-headless", "cv2", ""),
    ("fileseq", "fileseq", ""),
    ("safetensors", "safetensors", ""),
    ("matplotlib", "matplotlib", "`stpn compare` cannot draw"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: versions, devices, color, weights, folders, use or hosts.
        name: what it is.
        value: what was found.
        status: ok, warning or error; `stpn propagate` does not work as long as there is an error.
        advice: what to do; "" where all is well.
        lines: more of it, line by line.
        details: the value for machines.
    """

    group: str
    name: str
    value: str
    status: str = OK
    advice: str = ""
    lines: tuple[str, ...] = ()
    details: Any = None


def examine(ocio: str | None = None) -> Iterator[Finding]:
    """Looks at everything, one thing after the other, and yields what it finds. Nothing that is broken ends it.

    Args:
        ocio: a config as given to --ocio; None: $OCIO, else the built-in one.
    """
    whole = True
    for look in (_versions, _devices, lambda: _color(ocio), _weights, _folders):
        for finding in look():
            whole = whole and finding.status != ERROR
            yield finding
    yield from _use(ocio, whole)
    if whole:
        yield from _hosts()


def _versions() -> Iterator[Finding]:
    try:
        yield Finding("versions", "stpn", version("stpn"))
    except PackageNotFoundError:
        yield Finding("versions", "stpn", "not installed, run from its folder", WARNING, "run: python3 install.py")
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _PYTHON:
        yield Finding("versions", "Python", f"{python} ({sys.executable})")
    else:
        wanted = ".".join(map(str, _PYTHON))
        yield Finding("versions", "Python", python, ERROR, f"install Python {wanted} or newer, then run its install.py")
    wanted_versions = _requirements()
    for distribution, module, lost in _PACKAGES:
        yield _package(distribution, module, wanted_versions.get(distribution.lower(), ""), lost)


def _package(distribution: str, module: str, wanted: str, lost: str) -> Finding:
    """Imports a package: one that is installed may still be broken."""
    name = distribution if distribution.lower() == module.lower() else f"{module} ({distribution})"
    status = WARNING if lost else ERROR
    run = f'run: "{sys.executable}" -m pip install "{distribution}{wanted}"'
    advice = f"{lost}; {run}" if lost else run
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = "not installed" if (error.name or module) == module else f"lacks {error.name}"
        return Finding("versions", name, missing, status, advice)
    except Exception as error:
        broken = f"cannot be imported: {_one_line(error)}"
        return Finding("versions", name, broken, status, f"{advice} --force-reinstall")
    try:
        found = version(distribution)
    except PackageNotFoundError:
        # Linux distributions and hosts bring packages that pip knows nothing of
        found = str(getattr(imported, "__version__", "unknown version"))
    if not satisfies(found, wanted):
        return Finding("versions", name, found, WARNING, f"tested with {wanted}; {run}")
    return Finding("versions", name, found)


def _requirements() -> dict[str, str]:
    """Wanted versions (">=2.4") by distribution in small letters, as this installation of stpn states them."""
    try:
        lines = requires("stpn") or []
    except PackageNotFoundError:
        return {}
    parts = (re.match(r"([A-Za-z0-9._-]+)\s*([^;\s]*)", line) for line in lines)
    return {part[1].lower(): part[2] for part in parts if part}


def satisfies(found: str, wanted: str) -> bool:
    """Whether a version meets ">=1.2" or "==1.2.3"; whatever else is wanted counts as met."""
    match = re.fullmatch(r"(>=|==)([0-9.]+)", wanted)
    if match is None:
        return True
    numbers, least = ([int(part) for part in re.findall(r"\d+", text.split("+")[0])] for text in (found, match[2]))
    return numbers[: len(least)] == least if match[1] == "==" else numbers >= least


def _devices() -> Iterator[Finding]:
    model = machine.cpu_model()
    yield Finding("devices", "CPU", model or "unknown", OK if model else WARNING)
    usable, quota = machine.usable_processors(), machine.processor_quota()
    limit = f", of which a container grants {quota:g}" if quota is not None and quota < usable else ""
    yield Finding("devices", "processors", f"{usable} usable of {os.cpu_count()}{limit}", details=usable)
    sets = machine.instruction_sets()
    yield Finding("devices", "instruction sets", "unknown" if sets is None else " ".join(sets) or "none", details=sets)
    memory = machine.memory_gib()
    if memory is None:
        yield Finding("devices", "memory", "unknown", WARNING)
    else:
        yield Finding("devices", "memory", f"{memory[0]:.1f} GiB, {memory[1]:.1f} GiB free", details=memory)
    words, gpus = machine.nvidia_gpus()
    broken = not gpus and not words.startswith("none")
    advice = "check the NVIDIA driver, or go on with the CPU" if broken else ""
    found = [vars(gpu) for gpu in gpus]
    yield Finding("devices", "NVIDIA GPU", words, WARNING if broken else OK, advice, details=found)
    # importing it would load gigabytes
    there = importlib.util.find_spec("tensorrt") is not None
    try:
        named = version("tensorrt")
    except PackageNotFoundError:
        named = ""
    yield Finding("devices", "TensorRT", f"installed {named}".strip() if there else "not installed")


def _color(ocio: str | None) -> Iterator[Finding]:
    from stpn.ocio.config import ColorError, load_config

    try:
        config = load_config(ocio)
        spaces = len(config.spaces())
    except (ColorError, ImportError) as error:
        where = f"--ocio {ocio}" if ocio else "$OCIO" if os.environ.get("OCIO", "").strip() else "built-in"
        # the error ends with what to do
        yield Finding("color", "OCIO config", where, ERROR, _one_line(error))
        return
    yield Finding("color", "OCIO config", f"{config.origin}, {spaces} color spaces", details=config.origin)
    try:
        yield Finding("color", "scene_linear", config.scene_linear().name)
    except ColorError as error:
        yield Finding("color", "scene_linear", "the config has no such role", ERROR, _one_line(error))
    display = config.native.getDefaultDisplay()
    yield Finding("color", "default view", f"{display}, {config.native.getDefaultView(display)}" if display else "none")


def _weights() -> Iterator[Finding]:
    from stpn.engine import weights

    folder = Path(str(weights.__file__)).parent
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        yield Finding("weights", "shipped", "none", ERROR, "install stpn anew; until then only --method flow works")
    for file in files:
        size = f"{file.stat().st_size / 2**20:.1f} MiB"
        try:
            metadata = _metadata(file)
        except Exception as error:
            again = "that method cannot be used; install stpn anew"
            yield Finding("weights", file.stem, f"{size}, broken: {_one_line(error)}", WARNING, again)
            continue
        # of a text of many lines, such as a recipe, the first says what it is
        lines = tuple(f"{name}: {value.strip().partition(chr(10))[0]}" for name, value in sorted(metadata.items()))
        yield Finding("weights", file.stem, size if lines else f"{size}, no metadata", lines=lines, details=metadata)


def _metadata(file: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file; also makes sure that the header fits the file."""
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        return dict(opened.metadata() or {})


def _folders() -> Iterator[Finding]:
    try:
        folder = Path(tempfile.gettempdir())
        with tempfile.NamedTemporaryFile(prefix="stpn-doctor-") as file:
            file.write(b"stpn")
    except OSError as error:
        advice = "set TMPDIR to a folder that can be written"
        yield Finding("folders", "temporary files", _one_line(error), ERROR, advice)
    else:
        yield Finding("folders", "temporary files", f"{folder} can be written")
    try:
        from stpn.ocio import _lab_kernels

        cache = Path(str(_lab_kernels.luminance.stats.cache_path))
    except Exception as error:
        advice = "set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding("folders", "compiled kernels", _one_line(error), ERROR, advice)
        return
    there = next(path for path in (cache, *cache.parents) if path.exists())
    if os.access(there, os.W_OK):
        yield Finding("folders", "compiled kernels", f"{cache} can be written")
    else:
        advice = "set NUMBA_CACHE_DIR to a folder that can be written, or every start compiles for seconds"
        yield Finding("folders", "compiled kernels", f"{cache} cannot be written", WARNING, advice)


def _use(ocio: str | None, whole: bool) -> Iterator[Finding]:
    """What `stpn propagate` would use by default, and whether it carries a picture."""
    from stpn.plugin.device import choose_device
    from stpn.plugin.properties.kinds import chosen_method

    defaults = Request("", "", "")
    try:
        _, why = choose_device(defaults.device)
    except RequestError as error:
        yield Finding("use", "device", "none", ERROR, _one_line(error))
    else:
        yield Finding("use", "device", why)
    yield Finding("use", "method", chosen_method(defaults))
    yield Finding("use", "threads", str(defaults.threads or os.cpu_count() or 1))
    if not whole:
        yield Finding("use", "trial", "not made, see the errors above", ERROR, "mend what is marked as error")
        return
    try:
        yield Finding("use", "trial", f"3 frames of 48 x 32 pixels carried in {_trial(ocio):.1f} s")
    except Exception as error:
        yield Finding("use", "trial", _one_line(error), ERROR, "run: python3 install.py, or report this line")


def _hosts() -> Iterator[Finding]:
    from stpn.plugin.doctor_hosts import hosts

    return hosts()


def _trial(ocio: str | None) -> float:
    """Renders a tiny shot of noise as `stpn propagate` would; seconds."""
    import numpy as np

    from stpn.ocio.plate import new_plate, write_plate
    from stpn.plugin.render import render
    from stpn.plugin.shot import check

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="stpn-doctor-") as name:
        folder = Path(name)
        noise = np.random.default_rng(0).random((32, 48)).astype(np.float16)
        for frame in (1, 2, 3):
            write_plate(folder / f"plate.{frame:04d}.exr", new_plate(dict.fromkeys("RGB", noise)))
        for frame in (1, 3):
            key = {channel: noise * np.float16(gain) for channel, gain in (("R", 1), ("G", 0.75), ("B", 0.5))}
            write_plate(folder / f"keys.{frame:04d}.exr", new_plate(key))
        plate, keys, result = (str(folder / f"{name}.####.exr") for name in ("plate", "keys", "result"))
        for _ in render(check(Request(plate, keys, result, ocio=ocio))):
            pass
    return time.perf_counter() - start


def as_json(findings: list[Finding]) -> str:
    """All findings as one JSON object: ok, and a list."""
    return json.dumps({"ok": works(findings), "findings": [vars(finding) for finding in findings]}, indent=2)


def works(findings: list[Finding]) -> bool:
    """Whether `stpn propagate` works: nothing is marked as error."""
    return all(finding.status != ERROR for finding in findings)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
