"""The training loop: pre-training on image pairs ("im"), then fine-tuning on video ("vd"), as in the paper.

python -m stpn.engine.training.train --data DATA --exclude validation.json --out color.safetensors
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from stpn.engine.network import NetworkConfig, SwitchableTPN, switchable_loss
from stpn.engine.training import data
from stpn.engine.weights import save_network


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out, beside the data; stored beside the weights."""

    image_steps: int = 1200
    video_steps: int = 3800
    batch: int = 8
    crop: int = 160
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 1e-4
    switch_weight: float = 0.1
    average_decay: float = 0.998
    seed: int = 1


def train(
    recipe: Recipe,
    photos: list[data.Frames],
    clips: list[data.Frames],
    report: Callable[[str], None],
    save: Callable[[SwitchableTPN], None],
) -> None:
    """Trains the color network; the moving average of its weights goes to `save` every 500 steps and at the end.

    Data and start follow from the seed alone: the pairs of a step are drawn from (seed, step, place in the batch).
    """
    torch.manual_seed(recipe.seed)
    network = SwitchableTPN(NetworkConfig())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps, started, losses = recipe.image_steps + recipe.video_steps, time.monotonic(), []
    for step in range(steps):
        pretraining = step < recipe.image_steps
        draw = partial(data.photo_pair, photos) if pretraining else partial(data.clip_pair, clips)
        pairs = [draw(np.random.default_rng([recipe.seed, step, i]), recipe.crop) for i in range(recipe.batch)]
        key, target = (torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in zip(*pairs, strict=True))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, steps, recipe.warm_up)
        with torch.autocast("cpu", torch.bfloat16):
            loss = switchable_loss(
                network, _property(key), _property(target), _guide(key), _guide(target), recipe.switch_weight
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay = min(recipe.average_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            stage, minutes = ("im" if pretraining else "vd"), (time.monotonic() - started) / 60
            report(f"{stage} step {step + 1}/{steps}  loss {1e4 * np.mean(losses[-100:]):.2f}e-4  {minutes:.1f} min")
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save(average)


def _schedule(step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def _property(lab: Tensor) -> Tensor:
    return lab[:, 1:] / 100


def _guide(lab: Tensor) -> Tensor:
    return lab[:, :1] / 100 - 0.5


def main() -> None:
    """Builds the cache where needed, trains, writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clips/*.mp4 and photos/*.tar")
    parser.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        help="sources kept for measuring, and whatever shows the same: clips/NAME.mp4, or JSON files of lists of them",
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/training"), help="folder for decoded pictures")
    parser.add_argument("--out", type=Path, required=True, help="the weights, .safetensors")
    parser.add_argument("--threads", type=int, default=1)
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    args = parser.parse_args()
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe())})
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    excluded: set[str] = set()
    for item in args.exclude:
        lists = json.loads(Path(item).read_text()).values() if item.endswith(".json") else [[item]]
        excluded.update(name for names in lists for name in names)
    data.build_cache(args.data, args.cache, excluded)
    metadata = {"property": "color", "recipe": json.dumps(asdict(recipe))}
    train(
        recipe,
        data.load_cache(args.cache, "photos", excluded),
        data.load_cache(args.cache, "clips", excluded),
        report=partial(print, flush=True),
        save=lambda network: save_network(args.out, network, metadata),
    )


if __name__ == "__main__":
    main()
