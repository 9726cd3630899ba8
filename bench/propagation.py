"""Speed of the CPU propagation operator against the plain torch loop and against copying memory, one thread, in one
run.

    python bench/propagation.py

Correctness comes first: no number is printed where the operator and the reference disagree.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch

from stpn.engine.propagation import normalize_gates, propagate
from stpn.engine.propagation.reference import propagate_reference


def main() -> None:
    """Prints milliseconds and ratios for 32 x 64 x 64, four directions, shared gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[32, 64, 64], metavar=("C", "H", "W"))
    parser.add_argument("--repeats", type=int, default=15, help="rounds of A B A B")
    args = parser.parse_args()
    channels, height, width = args.shape
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(1, channels, height, width)
    gates = normalize_gates(torch.randn(1, 4, 1, 3, height, width))
    torch.testing.assert_close(propagate(x, gates), propagate_reference(x, gates), rtol=1e-5, atol=1e-5)

    # what the operator must at least move: the map and the gates in, the result out
    least = torch.empty(x.numel() + (gates.numel() + x.numel()) // 2)
    target = torch.empty_like(least)
    work: dict[str, Callable[[], object]] = {
        "numba": lambda: propagate(x, gates),
        "torch loop": lambda: propagate_reference(x, gates),
        "copy of the same bytes": lambda: target.copy_(least),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.repeats):
        for name, run in work.items():
            inner = 1 if name == "torch loop" else 10
            start = time.perf_counter()
            for _ in range(inner):
                run()
            times[name].append((time.perf_counter() - start) / inner)
    ours = median(times["numba"])
    print(f"{channels} x {height} x {width}, four directions, float32, one thread, {platform.processor() or 'CPU'}")
    for name, values in times.items():
        print(f"  {name:24s} {1e3 * median(values):8.3f} ms")
    ratios = [loop / numba for loop, numba in zip(times["torch loop"], times["numba"], strict=True)]
    print(f"  times faster than the loop: {median(ratios):.1f} (least {min(ratios):.1f})")
    print(f"  share of copy bandwidth:    {median(times['copy of the same bytes']) / ours:.3f}")


if __name__ == "__main__":
    main()
