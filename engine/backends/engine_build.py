"""TensorRT engines out of ONNX graphs, built where they will run and kept in the cache.

tensorrt and pycuda are imported where they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stpn.engine.backends.engine_cache import EngineKey, Machine, find, store, write_whole
from stpn.engine.backends.onnx_export import MULTIPLE, Network, digest_of, export_onnx
from stpn.engine.backends.tensorrt_plugin import compile_here, plugin_digest, register
from stpn.engine.network import SwitchableTPN
from stpn.engine.propagation.compile import CompileError
from stpn.engine.properties.mask_network import MaskRefiner

__all__ = [
    "EngineError",
    "Plan",
    "TensorRTMissing",
    "build",
    "engine_for",
    "find_machine",
    "make_engine",
    "network_size",
    "plan_engine",
]

# plugins that are compiled ahead of time came with it
_OLDEST = (10, 9)
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


class TensorRTMissing(Exception):
    """This machine cannot build or run engines; the message says why and what to do, in one line."""


class EngineError(Exception):
    """An engine cannot be built; the message says what TensorRT said."""


def find_machine(driver_file: Path = _DRIVER_FILE) -> Machine:
    """What this machine is.

    Raises:
        TensorRTMissing: no TensorRT, one that is too old, no pycuda, or no GPU.
    """
    instead = "go on with --device cpu"
    try:
        import tensorrt
    except ImportError as error:
        raise TensorRTMissing(
            f"TensorRT: expected the package tensorrt, {_said(error)}; run: pip install tensorrt, or {instead}"
        ) from error
    version = str(tensorrt.__version__)
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST:
        raise TensorRTMissing(
            f"TensorRT: expected 10.9 or newer, got {version}; run: pip install -U tensorrt, or {instead}"
        )
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise TensorRTMissing(
            f"TensorRT {version}: expected the package pycuda, {_said(error)}; run: pip install pycuda, or {instead}"
        ) from error
    try:
        cuda.init()
        device = cuda.Device(0)
    except cuda.Error as error:
        raise TensorRTMissing(
            f"TensorRT {version}: expected an NVIDIA GPU, {_said(error)}; check nvidia-smi, or {instead}"
        ) from error
    capability = ".".join(map(str, device.compute_capability()))
    return Machine(device.name(), capability, _driver(driver_file, cuda.get_driver_version()), version)


def network_size(network: Network, height: int, width: int) -> tuple[int, int]:
    """Height and width of the graph that serves pictures of a size: what whoever carries shows the network of them."""
    if isinstance(network, SwitchableTPN):
        return height, width
    if isinstance(network, MaskRefiner):
        from stpn.engine.properties.mask_detail import working_size

        height, width = working_size(height, width)
        return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
    from stpn.engine.aligned import mixed_long_side, shown_smaller
    from stpn.engine.working_size import working_factor

    factor = working_factor(height, width)
    height, width = -(-height // factor), -(-width // factor)
    factor = shown_smaller(height, width, mixed_long_side(network) if factor > 1 else None)
    whole = factor * MULTIPLE
    return -(-height // whole) * MULTIPLE, -(-width // whole) * MULTIPLE


@dataclass(frozen=True)
class Plan:
    """An engine that may be built.

    Attributes:
        model: its ONNX graph, serialised.
        key: what it depends on.
    """

    model: bytes
    key: EngineKey


def plan_engine(
    network: Network,
    height: int,
    width: int,
    machine: Machine,
    *,
    batch: int = 1,
    half: bool = True,
    weights: str = "",
) -> Plan:
    """What the engine of a network would be on a machine.

    Args:
        network, height, width, batch, half, weights: as for `export_onnx`.
        machine: of `find_machine`.

    Raises:
        ExportError: the network cannot be exported so.
    """
    model = export_onnx(network, height, width, batch=batch, half=half, weights=weights)
    told = {entry.key: entry.value for entry in model.metadata_props}
    key = EngineKey(
        network=told["stpn.network"],
        weights_name=told["stpn.weights"],
        weights=told["stpn.weights_sha256"],
        graph=digest_of(model),
        shape=told["stpn.shape"],
        precision=told["stpn.precision"],
        plugin=plugin_digest(),
        machine=machine,
    )
    return Plan(model.SerializeToString(deterministic=True), key)


def make_engine(plan: Plan, folder: Path) -> Path:
    """Builds an engine and keeps it, and what was measured for it, in the cache; minutes.

    Raises:
        EngineError, OSError: what its message says.
    """
    timings = folder / plan.key.timing_name
    engine, measured = build(plan.model, timings.read_bytes() if timings.is_file() else b"")
    path = store(folder, plan.key, engine)
    write_whole(timings, measured)
    return path


def engine_for(plan: Plan, folder: Path) -> Path:
    """The engine of a plan, built where the cache has none.

    Raises:
        EngineError, OSError: what its message says.
    """
    return find(folder, plan.key) or make_engine(plan, folder)


def build(model: bytes, timings: bytes = b"") -> tuple[bytes, bytes]:
    """Builds an engine on this machine's first GPU.

    Args:
        model: an ONNX graph of `export_onnx`.
        timings: what TensorRT measured before, of the same machine and plugin; b"": nothing.

    Returns:
        The engine, and what was measured with what was known before.

    Raises:
        EngineError: TensorRT does not take the graph or finds no way to run it.
    """
    import tensorrt

    logger = _Log(tensorrt)
    try:
        compile_here()  # what fails inside TensorRT's calls is told badly
    except CompileError as error:
        raise EngineError(str(error)) from error
    register()
    builder = tensorrt.Builder(logger.native)
    network = builder.create_network(_network_flags(tensorrt))
    parser = tensorrt.OnnxParser(network, logger.native)
    if not parser.parse(model):
        problems = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"TensorRT {tensorrt.__version__}: cannot read the graph: {problems or logger.last}")
    config = builder.create_builder_config()
    # float32 is asked for where half is not enough; 10 bits of TF32 are not either
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        # of another device or version, or damaged: measuring again costs minutes, believing it would cost more
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"TensorRT {tensorrt.__version__}: cannot build the engine: {logger.last}")
    return bytes(engine), bytes(config.get_timing_cache().serialize())


def _network_flags(tensorrt: Any) -> int:
    """Strongly typed, as TensorRT 11 always is, and with plugins that need no Python when they run."""
    flags = tensorrt.NetworkDefinitionCreationFlag
    wanted = [getattr(flags, name, None) for name in ("STRONGLY_TYPED", "PREFER_AOT_PYTHON_PLUGINS")]
    return sum(1 << int(flag) for flag in wanted if flag is not None)


class _Log:
    """TensorRT's logger, which prints nothing and remembers the last error."""

    def __init__(self, tensorrt: Any) -> None:
        outer = self
        self.last = "it said nothing"
        bad = (tensorrt.ILogger.Severity.ERROR, tensorrt.ILogger.Severity.INTERNAL_ERROR)

        class Native(tensorrt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                tensorrt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in bad:
                    outer.last = message

        self.native = Native()


def _driver(file: Path, cuda_version: int) -> str:
    """The driver's own version where it is told, else the CUDA that it brings."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)*", file.read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[0] if found else f"CUDA {cuda_version // 1000}.{cuda_version % 1000 // 10}"


def _said(error: BaseException) -> str:
    return f"got: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
