"""The network of a method and where its weights lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stpn.plugin.request import Request, RequestError

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN
    from stpn.engine.properties.mask_network import MaskRefiner

Network: TypeAlias = "SwitchableTPN | AlignedFusion | MaskRefiner"
"""What a method may need to have learned."""

# what is shipped for each property and each of its methods that has a network
_SHIPPED = {
    ("color", "aligned"): "aligned",
    ("color", "stpn"): "color",
    ("hdr", "aligned"): "hdr",
    ("hdr", "stpn"): "hdr_stpn",
    ("mask", "aligned"): "mask",
}
# of the property, and of what the paper's network is guided by
_CHANNELS = {"color": (2, 1), "hdr": (3, 3)}


def wrong_weights(request: Request) -> list[str]:
    """What is wrong with --weights whatever the files hold."""
    if request.weights is None or (request.property, request.method) in _SHIPPED:
        return []
    known = " or ".join(method for prop, method in _SHIPPED if prop == request.property)
    return [
        f"--weights: expected a method with a network, {known}, got --method {request.method}; leave one of them out"
    ]


def weights_file(request: Request) -> Path | None:
    """The weights that are asked for, or shipped; None where the method has none.

    Raises:
        RequestError: none are shipped.
    """
    from stpn.engine.weights import WeightsError, shipped

    name = _SHIPPED.get((request.property, request.method))
    of = "" if request.property == "color" else f" of --property {request.property}"
    if name is None:
        return None
    if request.weights is not None:
        return Path(request.weights)
    try:
        return shipped(name)
    except WeightsError as error:
        raise RequestError(f"--method {request.method}{of}: {error}; name others with --weights FILE") from error


def load_weights(request: Request, path: Path) -> Network:
    """The network of a request's method with weights.

    Raises:
        RequestError: the file is not there, is none of weights, or holds those of another network.
    """
    from stpn.engine.weights import WeightsError, load_aligned, load_mask, load_network

    try:
        if request.property == "mask":
            return load_mask(path)
        if request.method == "aligned":
            aligned = load_aligned(path)
            _refuse_other_channels(request, path, ("property",), (aligned.config.channels,))
            return aligned
        network = load_network(path)
    except WeightsError as error:
        raise RequestError(f"--method {request.method}: {error}") from error
    found = (network.config.property_channels, network.config.guide_channels)
    _refuse_other_channels(request, path, ("property", "guide"), found)
    return network


def on_device(network: Network, device: str, height: int, width: int) -> Network:
    """A network where a device runs it.

    Args:
        network: on the CPU.
        device: of `stpn.plugin.device.choose_device`.
        height, width: of the pictures; an engine of TensorRT is of one size.

    Raises:
        RequestError: there is no engine for it, or TensorRT refuses the one there is.
    """
    if device != "tensorrt":
        from stpn.engine.device import place

        return place(network, device)
    from stpn.engine.backends.engine_build import TensorRTMissing
    from stpn.engine.backends.onnx_export import ExportError
    from stpn.engine.backends.tensorrt_network import NoEngineError, engine_file, in_tensorrt
    from stpn.engine.backends.tensorrt_runtime import RunError

    try:
        return in_tensorrt(network, engine_file(network, height, width))
    except (NoEngineError, ExportError, TensorRTMissing, RunError) as error:
        raise RequestError(f"--device tensorrt: {error}") from error


def _refuse_other_channels(request: Request, path: Path, names: tuple[str, ...], found: tuple[int, ...]) -> None:
    wanted = _CHANNELS[request.property][: len(found)]
    if found != wanted:
        expected = " and ".join(
            f"{name} of {count}{' channels' * (index == 0)}"
            for index, (name, count) in enumerate(zip(names, wanted, strict=True))
        )
        raise RequestError(
            f"--method {request.method}: {path}: expected a network for {request.property}, {expected}, got "
            f"{' and '.join(map(str, found))}"
        )
