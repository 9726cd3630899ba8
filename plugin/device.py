"""What the work runs on, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stpn.plugin.request import RequestError


def choose_device(asked: str) -> tuple[str, str]:
    """The device for `auto`, `cpu`, `cuda` or `tensorrt`, and the reason in words.

    Raises:
        RequestError: the device was named and cannot be used here; there is no quiet fallback.
    """
    if asked in ("cuda", "tensorrt"):
        raise RequestError(
            f"--device {asked}: expected auto or cpu; this version does not run on {asked} yet; use --device cpu"
        )
    return "cpu", "cpu, as asked" if asked == "cpu" else "cpu, the only one that this version runs on"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch, and then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
