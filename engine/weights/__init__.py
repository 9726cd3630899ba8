"""Shipped weights, and how weights are stored: safetensors with the network's config in the metadata, a card beside
each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stpn.engine.network import SwitchableTPN

__all__ = ["WeightsError", "load_network", "save_network", "shipped"]


class WeightsError(Exception):
    """A weights file cannot be used; the message says which, why and what to do."""


def shipped(name: str) -> Path:
    """The path of shipped weights, such as `color`.

    Raises:
        WeightsError: there are none of that name; the message lists what there is.
    """
    folder = Path(__file__).parent
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        found = sorted(p.stem for p in folder.glob("*.safetensors"))
        raise WeightsError(f"no shipped weights for {name!r}: expected one of {found}")
    return path


def save_network(path: Path, network: SwitchableTPN, metadata: Mapping[str, str]) -> None:
    """Writes weights (float32) with the network's config and `metadata`."""
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, {**metadata, "config": json.dumps(dataclasses.asdict(network.config))})


def load_network(path: Path) -> SwitchableTPN:
    """Reads a network that `save_network` wrote; nothing is unpickled.

    Raises:
        WeightsError: not a safetensors file, or its tensors do not fit the config it carries.
    """
    from safetensors import SafetensorError, safe_open

    from stpn.engine.network import NetworkConfig, SwitchableTPN

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        sizes = json.loads(metadata["config"])
        config = NetworkConfig(**{**sizes, "guidance_widths": tuple(sizes["guidance_widths"])})
        network = SwitchableTPN(config)
        network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path}: expected weights of this version in safetensors, got: {reason}") from error
    return network.eval()
