"""Time and memory of a whole render, `stpn propagate` as a process of its own, EXR in and out.

    python bench/speed.py --yardstick ../shared/yardstick/yardstick.py --clip ../shared/data/clips/sam2_juggle.mp4
    python bench/speed.py --yardstick ... --clip ... --method aligned --against flow
    python bench/speed.py --yardstick ... --clip ... --memory

The first compares with the yardstick's `flow_both` on the same frames, one core, in turns A B A B. The second compares
with another method of ours. The third renders the clip once and ten times over, and compares peak memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

FLOW_BOTH = """
import sys; sys.path.insert(0, sys.argv[1])
import yardstick
print(yardstick.baseline_color((sys.argv[2], [int(sys.argv[3])], ["flow_both"])))
"""


def main() -> None:
    """Prints seconds of each round and the ratio, or the peak memory of a short and a long shot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yardstick", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--interval", type=int, default=20)
    parser.add_argument("--method", default="flow")
    parser.add_argument("--against", default="flow_both", help="flow_both of the yardstick, or a method")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder)
        prepare = [args.yardstick, "prepare", "color", args.clip, "--interval", args.interval, "--out", shot]
        run([sys.executable, *prepare])
        if args.memory:
            memory(shot, args.interval, args.method)
        else:
            speed(shot, args)


def speed(shot: Path, args: argparse.Namespace) -> None:
    """A B A B of the render on all cores and of what it is compared with; flow_both has one core."""
    frames = len(list((shot / "guide").iterdir()))
    ratios = []
    other: list[object] = [sys.executable, "-c", FLOW_BOTH, args.yardstick.resolve().parent, args.clip, args.interval]
    if args.against != "flow_both":
        other = propagate(shot, args.interval, args.against)
    run(propagate(shot, args.interval, args.method))  # compiles what is compiled once
    for _ in range(args.rounds):
        ours = run(propagate(shot, args.interval, args.method))
        base = run(other)
        ratios.append(ours / base)
        print(f"{frames} frames: {args.method} {ours:.2f} s, {args.against} {base:.2f} s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {median(ratios):.2f}, {1000 * ours / frames:.0f} ms a frame")


def memory(shot: Path, interval: int, method: str) -> None:
    """Peak memory of the clip, and of ten of it in a row."""
    frames = sorted((shot / "guide").iterdir())
    # whole intervals, so that every key of the first pass is one of the others too
    count = (len(frames) - 1) // interval * interval
    for folder in ("guide", "keys"):
        files = {int(p.suffixes[0][1:]): p for p in (shot / folder).iterdir()}
        first = min(files)
        for number, path in files.items():
            if number - first >= count:
                path.unlink()
        (shot / "long" / folder).mkdir(parents=True)
        for number, path in files.items():
            if number - first < count:
                for lap in range(10):
                    (shot / "long" / folder / f"{folder}.{number + lap * count:04d}.exr").symlink_to(path)
    short = peak(propagate(shot, interval, method))
    long = peak(propagate(shot / "long", interval, method))
    print(f"{count} frames: {short:.0f} MiB; {10 * count} frames: {long:.0f} MiB; ratio {long / short:.3f}")


def propagate(shot: Path, interval: int, method: str) -> list[object]:
    """The command."""
    return [
        Path(sys.executable).parent / "stpn", "propagate", "--plate", shot / "guide/guide.####.exr",
        "--keys", shot / "keys/keys.####.exr", "--interval", interval, "--output", shot / "result/result.####.exr",
        "--method", method,
    ]  # fmt: skip


def run(command: list[object]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}\n{done.stderr}")
    return time.perf_counter() - start


def peak(command: list[object]) -> float:
    """Peak resident memory in MiB of a process, measured by a parent that has no other child."""
    watch = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
    watch += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    arguments = [str(part) for part in command]
    done = subprocess.run([sys.executable, "-c", watch, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()
