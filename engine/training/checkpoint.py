"""Checkpoints: everything a training needs to go on as if it had not stopped, in one safetensors file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stpn.engine.training.recipe import Recipe, RecipeError, parse_recipe

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
_FORMAT = "1"


class FolderError(Exception):
    """A folder cannot be trained into; the message says why and what to do."""


@dataclass(frozen=True)
class Progressed:
    """How far a training has come.

    Attributes:
        step: steps done.
        seconds: spent on them, all runs together.
        curves: of `Curves.state`.
    """

    step: int
    seconds: float
    curves: str


def check_folder(folder: Path, recipe: Recipe, provenance: Mapping[str, str], *, resume: bool) -> None:
    """Makes sure that nothing is overwritten and that what is gone on with is the same training.

    Raises:
        FolderError: the folder holds a training and `resume` is false; or `resume` is true and it holds none, one of
            another recipe or of other material.
    """
    path = folder / CHECKPOINT
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: expected a folder, found a file; name another")
    if not resume:
        found = [name for name in (CHECKPOINT, WEIGHTS) if (folder / name).exists()]
        if found:
            raise FolderError(f"{folder}: holds {found[0]} already; go on with --resume, or name another folder")
        return
    if not path.is_file():
        raise FolderError(f"{folder}: expected {CHECKPOINT} to go on from, found none; leave --resume out to start")
    metadata = _metadata(path)
    try:
        earlier = parse_recipe(metadata["recipe"], "the recipe in the checkpoint")
    except RecipeError as error:
        raise FolderError(f"{path}: expected a checkpoint of this version, got: {error}") from error
    if difference := recipe.difference(earlier):
        raise FolderError(f"{folder}: holds a training by another recipe ({difference}); name another folder")
    for name, value in provenance.items():
        if value != metadata.get(name):
            raise FolderError(f"{folder}: its {name} were {metadata.get(name)}, now {value}; expected the same")


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progressed: Progressed,
    metadata: Mapping[str, str],
) -> None:
    """Writes `folder`/checkpoint.safetensors: network, average and optimizer state, torch's random state, the rest as
    metadata. The file before it stays until this one is whole."""
    from safetensors.torch import save_file

    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in state.items() if isinstance(v, Tensor)}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # copies, because safetensors wants plain memory order and refuses tensors that share memory
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    numbers = {"step": str(progressed.step), "seconds": repr(progressed.seconds), "curves": progressed.curves}
    write_beside(folder / CHECKPOINT, lambda part: save_file(tensors, part, {**metadata, **numbers, "format": _FORMAT}))


def load_checkpoint(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Progressed:
    """Puts everything back as it was when `save_checkpoint` was called.

    Raises:
        FolderError: the file is damaged, or its tensors do not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / CHECKPOINT
    metadata = _metadata(path)
    try:
        groups: dict[str, dict[str, Tensor]] = {}
        for name, value in load_file(path).items():
            group, rest = name.split(".", 1)
            groups.setdefault(group, {})[rest] = value
        network.load_state_dict(groups["network"])
        average.load_state_dict(groups["average"])
        _restore_optimizer(optimizer, groups.get("optimizer", {}))
        torch.set_rng_state(groups["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"])
        return Progressed(int(metadata["step"]), float(metadata["seconds"]), metadata["curves"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FolderError(f"{path}: expected a checkpoint of this recipe's network, got: {reason}") from error


def write_beside(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a path beside `path` and renames that to `path`: it is there whole or not at all."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, key = name.split(".")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # in the parameter's own memory order, as the optimizer made it: another order may round otherwise
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise FolderError(f"{path}: expected a checkpoint (safetensors), got: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise FolderError(f"{path}: expected a checkpoint of format {_FORMAT}, got {metadata.get('format')}")
    return metadata
