"""Machine code from `propagation.cuh` and `scan.cuh`, kept in the user's cache.

nvcc compiles where it is installed, NVRTC otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("propagation.cuh")
HEADER = Path(__file__).with_name("scan.cuh")

OPTIONS = ("-std=c++17",)
"""What nvcc and NVRTC are told alike; fused multiply-adds are on by default in both."""

Form = Literal["cubin", "ptx"]


class CompileError(Exception):
    """The kernel cannot be compiled; one line: what was expected, what was found, what to do."""


def compiled(architecture: str, form: Form = "cubin") -> bytes:
    """The kernels for one architecture, from the cache or compiled.

    Args:
        architecture: "sm_90" or the like.
        form: "cubin" runs on this architecture alone; "ptx" on it and all later ones, translated by the driver.

    Returns:
        What `cuModuleLoadData` takes.

    Raises:
        CompileError: not an architecture, neither compiler is there, or it refuses.
    """
    if not re.fullmatch(r"sm_\d+[af]?", architecture):
        raise CompileError(f"architecture: expected a name such as sm_90, got {architecture!r}")
    kept = cache_folder() / f"{_digest(architecture, form)}.{form}"
    with contextlib.suppress(OSError):
        return kept.read_bytes()
    if nvcc := find_nvcc():
        code = compile_with_nvcc(nvcc, architecture, form)
    elif nvrtc := find_nvrtc():
        code = compile_with_nvrtc(nvrtc, architecture, form)
    else:
        raise CompileError(
            f"compiling the GPU kernel for {architecture}: expected nvcc (on PATH or under CUDA_HOME) or the NVRTC "
            "library, found neither; install a CUDA toolkit, or the package nvidia-cuda-nvrtc into this Python"
        )
    with contextlib.suppress(OSError):  # without a cache the next start compiles again, nothing worse
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, kept)
    return code


def cache_folder() -> Path:
    """Where compiled kernels are kept: the user's folder for caches on this system."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stpn" / "kernels"


def _digest(architecture: str, form: Form) -> str:
    text = "\0".join((*OPTIONS, architecture, form, HEADER.read_text(), SOURCE.read_text()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find_nvcc() -> str | None:
    """The CUDA compiler: on PATH, or under CUDA_HOME or CUDA_PATH."""
    if found := shutil.which("nvcc"):
        return found
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    return next((found for home in homes if (found := shutil.which("nvcc", path=str(Path(home) / "bin")))), None)


def compile_with_nvcc(nvcc: str, architecture: str, form: Form, *extra: str) -> bytes:
    """The code that nvcc makes; `extra` options come last.

    Raises:
        CompileError: with its first complaint.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"kernel.{form}"
        command = [nvcc, *OPTIONS, f"-arch={architecture}", f"-{form}", *extra, "-x", "cu", str(SOURCE), "-o", str(out)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode or not out.is_file():
            raise CompileError(f"compiling the GPU kernel for {architecture}: {nvcc}: {_complaint(run.stderr)}")
        return out.read_bytes()


def find_nvrtc() -> str | None:
    """The run-time compiler's library: of the packages that come with torch for CUDA, or of the system."""
    patterns = ("nvrtc64_*.dll",) if sys.platform == "win32" else ("libnvrtc.so.*",)
    spec = importlib.util.find_spec("nvidia")
    packages = list(spec.submodule_search_locations or ()) if spec else []
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    folders = [folder for package in packages for folder in Path(package).glob("*/*") if folder.name in ("lib", "bin")]
    folders += [Path(home) / name for home in homes for name in ("lib64", "lib", "bin")]
    # libnvrtc-builtins and the alternative build lie beside it
    found = [
        file
        for folder in folders
        for pattern in patterns
        for file in sorted(folder.rglob(pattern), reverse=True)
        if "builtins" not in file.name and ".alt." not in file.name
    ]
    return str(found[0]) if found else ctypes.util.find_library("nvrtc")


def compile_with_nvrtc(library: str, architecture: str, form: Form) -> bytes:
    """The code that NVRTC makes.

    Args:
        library: path or name of libnvrtc.
        architecture, form: as `compiled`.

    Raises:
        CompileError: with its first complaint, or why the library cannot be loaded.
    """
    try:
        nvrtc = ctypes.CDLL(library)
    except OSError as error:
        raise CompileError(f"compiling the GPU kernel: {library} cannot be loaded: {error}") from error
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def check(status: int, log: str = "") -> None:
        if status:
            reason = _complaint(log) if log else nvrtc.nvrtcGetErrorString(status).decode()
            raise CompileError(f"compiling the GPU kernel for {architecture}: {library}: {reason}")

    def read(what: str) -> bytes:
        size = ctypes.c_size_t()
        check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        check(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    program = ctypes.c_void_p()
    options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={architecture}")]
    header, header_name = ctypes.c_char_p(HEADER.read_bytes()), ctypes.c_char_p(HEADER.name.encode())
    given = (SOURCE.read_bytes(), SOURCE.name.encode(), 1, ctypes.byref(header), ctypes.byref(header_name))
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), *given))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        check(status, read("ProgramLog").rstrip(b"\0").decode(errors="replace") if status else "")
        return read("CUBIN") if form == "cubin" else read("PTX").rstrip(b"\0")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _complaint(log: str) -> str:
    """The line of a compiler's output that says what is wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next(
        (line for line in lines if "error" in line.lower() or "fatal" in line.lower()), (lines or ["failed"])[-1]
    )
