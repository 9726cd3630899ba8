"""Recipes: all that decides what a training gives, beside the data; a small TOML file.

task = "color"
seed = 1
average_decay = 0.998

[data]
sources = ["clips/*.mp4", "photos/*.tar"]
exclude_lists = ["../yardstick/validation.json"]

[optimizer]
learning_rate = 1e-3

[[stage]]
name = "im"
steps = 900
batch = 8
crop = 160
options = { pairs = "photos" }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from stpn.engine.training.tables import RecipeError, Table, read_table

__all__ = [
    "DataChoice",
    "OptimizerChoice",
    "Recipe",
    "RecipeError",
    "Stage",
    "find_recipe",
    "load_recipe",
    "shipped_recipes",
]

_LONGEST = 1 << 16
# the time that tomllib takes for a key of many dots grows with their square, and a key ends with its line
_LONGEST_LINE = 1 << 12


@dataclass(frozen=True)
class DataChoice:
    """What is trained on.

    Attributes:
        sources: globs relative to the data folder: videos, folders of numbered pictures, tar files of photographs,
            pictures (EXR too).
        exclude: sources left out: their names or globs, `clips/bikes_a.mp4`; a folder means all that is in it.
        exclude_lists: JSON files of such names (a list, or an object of lists), relative to the data folder.
    """

    sources: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    exclude_lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerChoice:
    """How weights move.

    Attributes:
        learning_rate: the highest.
        momentum: of sgd.
        warm_up: steps in which the learning rate grows linearly to its highest.
        schedule: what it does over all steps of all stages: falls to zero as a cosine or a line, or stays.
        clip: largest norm of the gradient; 0: no limit.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    warm_up: int = 200
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = 1.0


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: as it stands in the curves: im (image pairs), vd (video).
        steps: how many.
        batch: samples a step.
        crop: side of the square samples in pixels.
        options: what else the task wants to know; the task checks it with `read_options`.
        origin: file and table, for errors.
    """

    name: str
    steps: int
    batch: int
    crop: int
    options: Mapping[str, object] = field(default_factory=dict)
    origin: str = field(default="stage", compare=False, metadata={"key": None})

    def read_options(self, kind: type[Table]) -> Table:
        """The options as a dataclass of the task's.

        Raises:
            RecipeError: an unknown option, or a value of another type.
        """
        return read_table(kind, self.options, f"{self.origin}: options")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. Two are equal when they ask for the same; comments and file name do not count.

    Attributes:
        task: what is trained, a name of `task.TASKS`.
        data: what on.
        stages: one after the other.
        carried: `property` in the file: what the weights carry.
        seed: of the start, of the pairs and of their order.
        start: weights (safetensors) to go on from; empty: none. Whoever starts the training says relative to what.
        network: sizes of the network, checked by the task with `read_network`.
        average_decay: of the moving average of the weights, which is what comes out; 0: the last weights themselves.
        precision: of convolutions and matrix products; the rest is float32.
        origin: the file, for errors.
        text: the file's text.
    """

    task: str
    data: DataChoice
    stages: tuple[Stage, ...] = field(metadata={"key": "stage"})
    carried: str = field(default="color", metadata={"key": "property"})
    seed: int = 1
    start: str = ""
    network: Mapping[str, object] = field(default_factory=dict)
    optimizer: OptimizerChoice = OptimizerChoice()
    average_decay: float = 0.998
    precision: Literal["bf16", "fp32"] = "bf16"
    origin: str = field(default="recipe", compare=False, metadata={"key": None})
    text: str = field(default="", compare=False, metadata={"key": None})

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> Stage:
        """The stage of a step, counted from 0 over all stages."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise IndexError(f"expected a step below {self.steps}, got one {step} beyond")

    def read_network(self, kind: type[Table]) -> Table:
        """The table [network] as a dataclass of the task's.

        Raises:
            RecipeError: an unknown key, or a value of another type.
        """
        return read_table(kind, self.network, f"{self.origin}: network")

    def difference(self, other: Recipe) -> str:
        """The first key in which two recipes differ, with both values; empty where they ask for the same."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            if each.compare and mine != others:
                return f"{each.metadata.get('key', each.name)}: {mine!r} against {others!r}"
        return ""


def parse_recipe(text: str, origin: str) -> Recipe:
    """A recipe from the text of a TOML file.

    Raises:
        RecipeError: no TOML, unknown or missing keys, values of another type or out of range.
    """
    if len(text) > _LONGEST:
        raise RecipeError(f"{origin}: expected a recipe of up to {_LONGEST} letters, got {len(text)}")
    longest = max(map(len, text.splitlines()), default=0)
    if longest > _LONGEST_LINE:
        raise RecipeError(f"{origin}: expected lines of up to {_LONGEST_LINE} letters, got one of {longest}")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # some numbers are too long for Python, some tables too deep
        raise RecipeError(f"{origin}: expected TOML, got: {error}") from error
    recipe = read_table(Recipe, table, origin)
    stages = tuple(replace(stage, origin=f"{origin}: stage {stage.name!r}") for stage in recipe.stages)
    recipe = replace(recipe, stages=stages, origin=origin, text=text)
    _check(recipe)
    return recipe


def load_recipe(path: Path) -> Recipe:
    """A recipe from a file.

    Raises:
        RecipeError: as `parse_recipe`, or the file cannot be read.
    """
    try:
        if path.is_file() and path.stat().st_size > 4 * _LONGEST:
            raise RecipeError(f"{path}: expected a recipe of up to {_LONGEST} letters, got {path.stat().st_size} bytes")
        if path.exists() and not path.is_file():  # to open a named pipe would wait for ever
            raise RecipeError(f"{path}: expected a recipe (TOML), got something that is no file")
        return parse_recipe(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: expected a recipe (TOML), got: {error}") from error


def shipped_recipes() -> dict[str, Path]:
    """Name and file of every shipped recipe."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe that is given as a path, or by the name of a shipped one.

    Raises:
        RecipeError: neither; the message lists the shipped ones.
    """
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise RecipeError(f"{name}: expected a recipe file or one of {', '.join(shipped)}; found neither")


def _check(recipe: Recipe) -> None:
    optimizer, names = recipe.optimizer, [stage.name for stage in recipe.stages]
    rules: list[tuple[str, object, bool, str]] = [
        ("stage", "none", bool(recipe.stages), "one [[stage]] or more"),
        ("stage: name", names, len(set(names)) == len(names), "each name once"),
        ("data: sources", "none", bool(recipe.data.sources), "one glob or more"),
        ("seed", recipe.seed, recipe.seed >= 0, "0 or more"),
        ("average_decay", recipe.average_decay, 0 <= recipe.average_decay < 1, "0 or more, below 1"),
        ("optimizer: learning_rate", optimizer.learning_rate, optimizer.learning_rate > 0, "more than 0"),
        ("optimizer: weight_decay", optimizer.weight_decay, optimizer.weight_decay >= 0, "0 or more"),
        ("optimizer: momentum", optimizer.momentum, 0 <= optimizer.momentum < 1, "0 or more, below 1"),
        ("optimizer: warm_up", optimizer.warm_up, optimizer.warm_up >= 0, "0 or more"),
        ("optimizer: clip", optimizer.clip, optimizer.clip >= 0, "0 or more"),
    ]
    for stage in recipe.stages:
        for key in ("steps", "batch", "crop"):
            value = getattr(stage, key)
            rules.append((f"stage {stage.name!r}: {key}", value, value > 0, "1 or more"))
    for key, value, holds, expected in rules:
        if not holds:
            raise RecipeError(f"{recipe.origin}: {key}: expected {expected}, got {value!r}")
