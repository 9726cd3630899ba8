"""Shipped weights, and how weights are stored: safetensors with the network's config in the metadata, a card beside
each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stpn.engine.weights.checks import checked_sizes, numbers_in, one_line, refuse_no_file, refuse_other_tensors

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN
    from stpn.engine.properties.mask_network import MaskRefiner
    from stpn.engine.properties.mask_segmentation import MaskSegmentation

Network = TypeVar("Network", "SwitchableTPN", "AlignedFusion", "MaskRefiner", "MaskSegmentation")

__all__ = [
    "WeightsError",
    "kind_of",
    "load_aligned",
    "load_mask",
    "load_mask_segmentation",
    "load_network",
    "save_network",
    "shipped",
]


class WeightsError(Exception):
    """A weights file cannot be used; the message says which, why and what to do."""


def shipped(name: str) -> Path:
    """The path of shipped weights, such as `color`.

    Raises:
        WeightsError: there are none of that name; the message lists what there is.
    """
    folder = Path(__file__).parent
    found = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    if name not in found:
        raise WeightsError(f"no shipped weights for {name!r}: expected one of {list(found)}")
    return found[name]


def save_network(
    path: Path, network: SwitchableTPN | AlignedFusion | MaskRefiner | MaskSegmentation, metadata: Mapping[str, str]
) -> None:
    """Writes weights (float32) with the network's kind and config, and `metadata`."""
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    config = json.dumps(dataclasses.asdict(network.config))
    save_file(state, path, {**metadata, "network": type(network).__name__, "config": config})


def kind_of(path: Path) -> str:
    """The class whose weights a file says it holds: SwitchableTPN, AlignedFusion, MaskRefiner or MaskSegmentation.

    Raises:
        WeightsError: not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        refuse_no_file(path)
        with safe_open(path, "pt") as file:
            return one_line((file.metadata() or {}).get("network", "SwitchableTPN"))
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: expected weights of this version in safetensors, got: {one_line(error)}"
        ) from error


def load_network(path: Path) -> SwitchableTPN:
    """Reads the paper's network that `save_network` wrote; nothing is unpickled.

    Raises:
        WeightsError: not a safetensors file, or its tensors do not fit the config it carries.
    """
    from stpn.engine.network import NetworkConfig, SwitchableTPN

    return _load(path, SwitchableTPN, NetworkConfig)


def load_aligned(path: Path) -> AlignedFusion:
    """Reads the network of `--method aligned`, as `load_network` does that of the paper."""
    import torch

    from stpn.engine.aligned_network import AlignedConfig, AlignedFusion

    network = _load(path, AlignedFusion, AlignedConfig)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def load_mask(path: Path) -> MaskRefiner:
    """Reads the network of `--method aligned` for masks, as `load_network` does that of the paper."""
    import torch

    from stpn.engine.properties.mask_network import MaskConfig, MaskRefiner

    network = _load(path, MaskRefiner, MaskConfig)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def load_mask_segmentation(path: Path) -> MaskSegmentation:
    """Reads the paper's networks for masks, as `load_network` does that for color."""
    from stpn.engine.properties.mask_segmentation import MaskSegmentation, SegmentationConfig

    return _load(path, MaskSegmentation, SegmentationConfig)


def _load(path: Path, kind: type[Network], config: type[Any]) -> Network:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        refuse_no_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            found = metadata.get("network", "SwitchableTPN")
            if found != kind.__name__:
                raise ValueError(f"those of {found}, not of {kind.__name__}")
            # made before its tensors are read, and only as large as they are: the sizes may be made up
            network = kind(checked_sizes(config, json.loads(metadata["config"]), numbers_in(file)))
            refuse_other_tensors(file, network.state_dict())
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        broken = next((name for name, value in state.items() if not torch.isfinite(value).all()), None)
        if broken is not None:
            raise ValueError(f"NaN or infinite numbers in {broken}")
        network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise WeightsError(
            f"{path}: expected weights of this version in safetensors, got: {one_line(error)}"
        ) from error
    return network.eval()
