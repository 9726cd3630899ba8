"""Quality of whole renders on the yardstick's validation clips, through EXR files and the `stpn` command.

    python bench/quality.py --yardstick ../shared/yardstick/yardstick.py --interval 10 20 30 40 --method flow

Every clip is prepared as EXR, rendered by `stpn propagate`, scored by the yardstick, and compared with the
yardstick's baselines, which run on the same clips in the same call.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

BASELINE = "flow_both"


def main() -> None:
    """Prints a row a clip and interval, then the means; exits 1 where a render fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yardstick", type=Path, required=True)
    parser.add_argument("--interval", type=int, nargs="+", default=[10, 20, 30, 40])
    parser.add_argument("--method", nargs="+", default=["flow"])
    parser.add_argument("--clips", nargs="*", help="parts of clip names (default: every validation clip)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    args = parser.parse_args()
    folder = args.yardstick.resolve().parent
    sources = json.loads((folder / "validation.json").read_text())["color"]
    clips = [folder.parent / "data" / s for s in sources if not args.clips or any(c in s for c in args.clips)]
    base = baselines(args.yardstick, clips, args.interval, args.jobs)
    work = [(clip, interval) for interval in args.interval for clip in clips]
    with ThreadPoolExecutor(args.jobs) as pool:
        scores = list(pool.map(lambda job: measure(args.yardstick, *job, args.method), work))
    table = {}
    for (clip, interval), score in zip(work, scores, strict=True):
        row = {**{name: base[clip.stem][f"{name}@{interval}"]["psnr"] for name in ("copy", BASELINE)}, **score}
        table[f"{clip.stem}@{interval}"] = row
        show(f"K={interval} {clip.stem}", row)
    for interval in args.interval:
        rows = [table[f"{clip.stem}@{interval}"] for clip in clips]
        show(
            f"K={interval} mean of {len(rows)}", {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        )
        for method in args.method:
            gains = [row[method] - row[BASELINE] for row in rows]
            print(f"  {method} over {BASELINE}: mean {np.mean(gains):+.3f} dB, least {min(gains):+.3f} dB")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


def show(name: str, row: dict[str, float]) -> None:
    """Prints one row of PSNR in dB."""
    print(f"{name:42s}", *[f"{method} {value:6.2f}" for method, value in row.items()], flush=True)


def baselines(
    yardstick: Path, clips: list[Path], intervals: list[int], jobs: int
) -> dict[str, dict[str, dict[str, float]]]:
    """The yardstick's own methods on the clips."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "baseline.json"
        command = [sys.executable, yardstick, "baseline", "color", "--jobs", jobs, "--json", out]
        run([*command, "--interval", *intervals, "--sources", *clips])
        table: dict[str, dict[str, dict[str, float]]] = json.loads(out.read_text())
        return table


def measure(yardstick: Path, clip: Path, interval: int, methods: list[str]) -> dict[str, float]:
    """PSNR in dB of each method on one clip, through files."""
    stpn = Path(sys.executable).parent / "stpn"
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder)
        run([sys.executable, yardstick, "prepare", "color", clip, "--interval", interval, "--out", shot])
        scores = {}
        for method in methods:
            result = shot / method
            run([
                stpn, "propagate", "--plate", shot / "guide/guide.####.exr", "--keys", shot / "keys/keys.####.exr",
                "--property", "color", "--interval", interval, "--output", result / "result.####.exr",
                "--method", method, "--threads", 1,
            ])  # fmt: skip
            score = run([sys.executable, yardstick, "score", "color", shot, result, "--interval", interval])
            scores[method] = float(json.loads(score)["psnr"])
        return scores


def run(command: list[object]) -> str:
    """Runs a command and returns its stdout; ends the measurement where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(part) for part in command)}\nexit code {done.returncode}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
