"""The network of a method and where its weights lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stpn.plugin.request import Request, RequestError

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN

# what is shipped for each method that has a network
_SHIPPED = {"aligned": "aligned", "stpn": "color"}


def wrong_weights(request: Request) -> list[str]:
    """What is wrong with --weights whatever the files hold."""
    if request.weights is None or request.method != "flow":
        return []
    return ["--weights: expected a method with a network, aligned or stpn, got --method flow; leave one of them out"]


def weights_file(request: Request) -> Path | None:
    """The weights that are asked for, or shipped; None where the method has none.

    Raises:
        RequestError: none are shipped.
    """
    from stpn.engine.weights import WeightsError, shipped

    if request.method not in _SHIPPED:
        return None
    if request.weights is not None:
        return Path(request.weights)
    try:
        return shipped(_SHIPPED[request.method])
    except WeightsError as error:
        raise RequestError(f"--method {request.method}: {error}; name others with --weights FILE") from error


def load_weights(method: str, path: Path) -> SwitchableTPN | AlignedFusion:
    """The network of a method with weights.

    Raises:
        RequestError: the file is not there, is none of weights, or holds those of another network.
    """
    from stpn.engine.weights import WeightsError, load_aligned, load_network

    try:
        if method == "aligned":
            return load_aligned(path)
        network = load_network(path)
    except WeightsError as error:
        raise RequestError(f"--method {method}: {error}") from error
    channels = (network.config.property_channels, network.config.guide_channels)
    if channels != (2, 1):
        raise RequestError(
            f"--method {method}: {path}: expected a network for color, property of 2 channels and guide of 1, got "
            f"{channels[0]} and {channels[1]}"
        )
    return network
