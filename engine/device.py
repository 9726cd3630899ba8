"""Where a network computes: a CPU or an NVIDIA GPU, and in which type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import nn

Placed = TypeVar("Placed", bound=nn.Module)


def device_of(network: nn.Module) -> torch.device:
    """The device that holds a network's weights."""
    return next(network.parameters()).device


def place(network: Placed, device: str) -> Placed:
    """Moves a network to a device; what a GPU multiplies for a convolution lies side by side there (channels last).

    What is not a convolution asks for the order that it needs: `stpn.engine.propagation.cuda` for planes.
    """
    if torch.device(device).type == "cpu":
        return network.to(device)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@contextmanager
def inference(network: nn.Module, *, fast: bool = True) -> Iterator[torch.device]:
    """Runs what is within without gradients, convolutions in the fastest type that the network's device has.

    Args:
        network: what will run.
        fast: whether types of 16 bits may be used: bfloat16 on a CPU that multiplies it itself, float16 on a GPU.

    Yields:
        The device, for tensors that the network is to see.
    """
    device = device_of(network)
    kind = torch.bfloat16 if device.type == "cpu" else torch.float16
    enabled = fast and (device.type != "cpu" or fast_bfloat16())
    with torch.inference_mode(), torch.autocast(device.type, kind, enabled=enabled):
        yield device


@cache
def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; convolutions then take about two thirds of the time.

    The result differs in the last visible digit of ab from that in float32, and not at all between frames, chunks and
    runs on one kind of processor.
    """
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
