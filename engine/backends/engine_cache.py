"""Where built TensorRT engines are kept, and what one of them is good for.

An engine runs on one kind of GPU under one TensorRT alone, and TensorRT does not check the rest (whose weights, which
plugin), so a file's name holds a digest of all of that, and whatever differs is built anew. Beside every engine lies a
.json with the same in words.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stpn.engine.propagation import compile as kernels

ENGINE, TIMING = ".engine", ".timing"


@dataclass(frozen=True)
class Machine:
    """What an engine is built on, and runs on.

    Attributes:
        gpu: name of the GPU.
        capability: its compute capability, such as 8.9.
        driver: version of the NVIDIA driver.
        tensorrt: version of TensorRT.
    """

    gpu: str
    capability: str
    driver: str
    tensorrt: str


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        network: class of the network.
        weights_name: for people; not part of what is compared.
        weights: digest of the weights' numbers.
        graph: digest of the ONNX graph.
        shape: batch x height x width.
        precision: half or float.
        plugin: digest of the propagation plugin's sources.
        machine: what it was built on.
    """

    network: str
    weights_name: str
    weights: str
    graph: str
    shape: str
    precision: str
    plugin: str
    machine: Machine

    @property
    def digest(self) -> str:
        """SHA-256 over all but the name of the weights."""
        return _digest({**asdict(self), "weights_name": ""})

    @property
    def file_name(self) -> str:
        """Readable in front, unique through the digest."""
        return f"{self.network}-{self.shape}-{self.precision}-{self.digest[:20]}{ENGINE}"

    @property
    def timing_name(self) -> str:
        """File of what TensorRT measured of layers. It knows nothing of a plugin's code, so that is told here."""
        return f"{_digest({**asdict(self.machine), 'plugin': self.plugin})[:20]}{TIMING}"

    def differences(self, other: EngineKey) -> list[str]:
        """In words, what of another key differs; the name of the weights aside."""
        mine, others = ({**asdict(key), **asdict(key.machine)} for key in (self, other))
        names = [field.name for field in (*fields(EngineKey), *fields(Machine))]
        return [
            f"{name} {_short(others[name])} instead of {_short(mine[name])}"
            for name in names
            if name not in ("machine", "weights_name") and mine[name] != others[name]
        ]


@dataclass(frozen=True)
class Kept:
    """An engine in the cache.

    Attributes:
        path: the engine.
        size: its bytes.
        key: what it was built for; None: what lies beside it cannot be read.
    """

    path: Path
    size: int
    key: EngineKey | None


def cache_folder() -> Path:
    """`engines` in the user's folder for caches on this system, beside the compiled kernels; it need not be there."""
    return kernels.cache_folder().with_name("engines")


def find(folder: Path, key: EngineKey) -> Path | None:
    """The engine for exactly this key; None: there is none."""
    path = folder / key.file_name
    return path if path.is_file() and path.with_suffix(".json").is_file() else None


def store(folder: Path, key: EngineKey, engine: bytes) -> Path:
    """Keeps an engine, whole or not at all.

    Raises:
        OSError: the folder cannot be made or written.
    """
    # loading an engine runs code out of it, so nobody else may put one there
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / key.file_name
    write_whole(path, engine)
    write_whole(path.with_suffix(".json"), json.dumps(asdict(key), indent=1).encode())
    return path


def kept(folder: Path) -> Iterator[Kept]:
    """All engines, by name."""
    for path in sorted(folder.glob(f"*{ENGINE}")):
        try:
            told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            found = EngineKey(**{**told, "machine": Machine(**told["machine"])})
            texts = (*asdict(found.machine).values(), found.network, found.shape, found.precision, found.weights_name)
            key = found if all(isinstance(text, str) for text in texts) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            key = None
        yield Kept(path, path.stat().st_size, key)


def clear(folder: Path) -> tuple[int, int]:
    """Removes all engines and timings; nothing else in the folder.

    Returns:
        How many engines, and their bytes.
    """
    engines = list(kept(folder))
    for path in [*folder.glob(f"*{ENGINE}"), *folder.glob(f"*{TIMING}")]:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    return len(engines), sum(one.size for one in engines)


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside, then renames: killed at any moment, a file is the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(told: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _short(text: str) -> str:
    return text[:12] if len(text) == 64 else text
