"""What `--adapt` asks for: whether a file of adapted weights fits, else which keys are learned from and held aside."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stpn.ocio.sequence import Sequence as Files
from stpn.plugin.adapted_file import Record, adapted_path, digest, options_of, read_record
from stpn.plugin.footage import Footage
from stpn.plugin.frames_on_disk import refuse_missing
from stpn.plugin.keys import key_frames, parted
from stpn.plugin.networks import Network, load_weights, weights_file
from stpn.plugin.request import Request, RequestError, listed

if TYPE_CHECKING:
    from stpn.engine.training.adaptation import Division

_FEWEST = 3
_LONGEST = 7 * 24 * 60.0
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class Plan:
    """An adaptation of the network for color that is still to be made.

    Attributes:
        path: where its result goes.
        steps, seconds: how long to train, one of the two.
        base: digest of the weights to start from.
        keys: digest of every key file, by frame.
        serving: the neighbouring keys that predict a key, by its frame.
        division: which keys are learned from and which are held aside.
    """

    path: Path
    steps: int | None
    seconds: float | None
    base: str
    keys: Mapping[int, str]
    serving: Mapping[int, tuple[int, ...]]
    division: Division

    @property
    def said(self) -> str:
        """The decision in words."""
        long = f"{self.steps} step{'s' * (self.steps != 1)}"
        if self.seconds is not None:
            long = f"{self.seconds / 60:g} min"
        learned, aside = (listed(frames) for frames in (self.division.learned, self.division.aside))
        how = f"learns from keys {learned}, held aside {aside}"
        if self.division.learned == self.division.aside:
            how = f"learns from one half of key {learned}, in a checkerboard, the other half held aside"
        return f"adapt: {how}, {long}, into {self.path.name}"


@dataclass(frozen=True)
class MaskPlan:
    """An adaptation of the network for mattes: made anew by every run, and left in no file.

    Attributes:
        steps: how long to train.
        keys: what is learned from, ascending, whichever frames are rendered: so all chunks get the same network.
        left_out: keys without a plate frame.
    """

    steps: int
    keys: tuple[int, ...]
    left_out: tuple[int, ...]

    # motion is followed between no frames of the shot
    reach: ClassVar[Sequence[int]] = ()

    @property
    def keys_read(self) -> Sequence[int]:
        """The keys that are looked at."""
        return self.keys

    @property
    def plates_read(self) -> Sequence[int]:
        """The plate frames to be looked at."""
        return self.keys

    @property
    def said(self) -> str:
        """The decision in words."""
        left_out = f"; no plate frame for {listed(self.left_out)}" if self.left_out else ""
        return f"adapt: {self.steps} step{'s' * (self.steps != 1)} on keys {listed(self.keys)}{left_out}"

    def plan(self, request: Request, cuts: Sequence[int], plate: Footage) -> MaskPlan:
        """What is to be made: this."""
        return self


@dataclass(frozen=True)
class Wanted:
    """An adaptation of the network for color that was asked for.

    Attributes:
        path: where adapted weights lie, or will.
        base: digest of the weights to start from.
        keys: digest of every key file, by frame, ascending.
        record: of the file at `path`, where it fits; there is nothing to be made then.
    """

    path: Path
    base: str
    keys: Mapping[int, str]
    record: Record | None

    @property
    def keys_read(self) -> Sequence[int]:
        """The keys that are looked at; none where there is nothing to be made."""
        return () if self.record is not None else tuple(self.keys)

    @property
    def reach(self) -> Sequence[int]:
        """The plate frames to be looked at: from the first key to the last; none where there is nothing to be made."""
        return () if self.record is not None else range(min(self.keys), max(self.keys) + 1)

    @property
    def plates_read(self) -> Sequence[int]:
        """As `reach`."""
        return self.reach

    def plan(self, request: Request, cuts: Sequence[int], plate: Footage) -> Plan | None:
        """What is to be made; None where there is nothing.

        Args:
            request: as asked.
            cuts: first frames of new shots between the keys, ascending.
            plate: the plate.

        Raises:
            RequestError: no three keys in one shot, or a single one between two, too small to be divided.
        """
        from stpn.engine.training.adaptation import divide
        from stpn.engine.working_size import working_factor

        if self.record is not None:
            return None
        keys = list(self.keys)
        serving = {
            key: {"previous": (before,), "next": (after,)}.get(request.keys_used, (before, after))
            for before, key, after in zip(keys, keys[1:], keys[2:], strict=False)
            if not parted(before, after, cuts)
        }
        if not serving:
            raise _too_few(keys, cuts)
        part = plate.info.parts[plate.part]
        try:
            factor = working_factor(part.height, part.width)
            size = -(-part.height // factor), -(-part.width // factor)
            division = divide(tuple(serving), *size, reduced=factor > 1)
        except ValueError as error:
            raise RequestError(f"--adapt: {error}; leave it out") from error
        return Plan(self.path, *parse_amount(request.adapt or ""), self.base, self.keys, serving, division)


def wrong_adaptation(request: Request) -> list[str]:
    """What is wrong with --adapt whatever the files hold."""
    if request.adapt is None:
        return []
    try:
        steps, _ = parse_amount(request.adapt)
    except RequestError as error:
        if request.property != "mask":
            return list(error.problems)
        steps = None
    if request.property == "mask" and steps is None:
        return [
            f"--adapt: expected steps with --property mask, 1 to {_MOST_STEPS}, such as 80steps, got "
            f"{request.adapt!r}: every chunk of a farm adapts by itself and must come to the same weights, which "
            "minutes do not tell; name steps"
        ]
    if request.method != "aligned":
        return [f"--adapt: expected --method aligned, got {request.method}; leave one of them out"]
    return []


def parse_amount(text: str) -> tuple[int | None, float | None]:
    """Steps and seconds, one of the two, of 5 or 0.5 (minutes) or 300steps.

    Raises:
        RequestError: it is something else.
    """
    match = re.fullmatch(r"(?P<steps>\d{1,9})\s*steps?|(?P<minutes>\d{1,9}(\.\d*)?|\.\d+)", text.strip())
    if match is not None and match["steps"] and 1 <= int(match["steps"]) <= _MOST_STEPS:
        return int(match["steps"]), None
    if match is not None and match["minutes"] and 0 < float(match["minutes"]) <= _LONGEST:
        return None, 60 * float(match["minutes"])
    raise RequestError(f"--adapt: expected minutes above 0, such as 5, or steps, such as 300steps, got {text!r}")


def wanted(
    request: Request, output: Files, keys: Files, plate_on_disk: Sequence[int], keys_on_disk: Sequence[int]
) -> Wanted | MaskPlan | None:
    """What --adapt asks for, and whether it is there; None where it asks for nothing.

    Of mattes it is never there, and keys without a plate frame are left out.

    A file of adapted weights fits where it started from the same weights and learned from the same keys, seen the same
    way. Where only some frames are rendered (--frames), keys that are not on disk are not asked after.

    Args:
        request: as asked.
        output, keys: patterns.
        plate_on_disk, keys_on_disk: frames there are, ascending.

    Raises:
        RequestError: the file would overwrite the weights it starts from or something foreign; or it is still to be
            made, and there are too few keys, or frames or keys are missing.
    """
    weights = weights_file(request) if request.adapt is not None else None
    if weights is None:
        return None
    if request.property == "mask":
        return _wanted_of_mattes(request, keys, plate_on_disk, keys_on_disk)
    path = adapted_path(output)
    if os.path.realpath(weights) == os.path.realpath(path):
        raise RequestError(
            f"--weights {weights}: expected another file than the one that --adapt writes; leave one of them out"
        )
    within = range(plate_on_disk[0], plate_on_disk[-1] + 1)
    asked = [key for key in key_frames(request, plate_on_disk, keys_on_disk) if key in within]
    there = set(keys_on_disk)
    try:
        base = digest(weights)
        found = {key: digest(keys.path(key)) for key in asked if key in there}
    except OSError as error:
        raise RequestError(f"{error.filename}: expected a file that can be read, got: {error.strerror}") from error
    record = read_record(path)
    if record is not None and (record.base, record.options) == (base, options_of(request)):
        known = dict(record.keys)
        if request.frames is not None:
            known = {key: of for key, of in known.items() if key in there and key in within}
        if found and known == found:
            return Wanted(path, base, found, record)
    if len(asked) < _FEWEST:
        raise _too_few(asked, ())
    why = f"; --adapt learns from every key of the shot: adapt where all is there, and bring {path.name} along"
    refuse_missing(asked, keys_on_disk, keys, "key", why)
    refuse_missing(range(asked[0], asked[-1] + 1), plate_on_disk, Files(request.plate), "plate", why)
    return Wanted(path, base, found, None)


def _wanted_of_mattes(
    request: Request, keys: Files, plate_on_disk: Sequence[int], keys_on_disk: Sequence[int]
) -> MaskPlan:
    steps, _ = parse_amount(request.adapt or "")
    assert steps is not None
    asked, there = key_frames(request, plate_on_disk, keys_on_disk), set(plate_on_disk)
    learned = tuple(key for key in asked if key in there)
    # fewer keys than another chunk has would make another network
    refuse_missing(learned, keys_on_disk, keys, "key", "; --adapt learns from every key of the shot")
    return MaskPlan(steps, learned, tuple(key for key in asked if key not in there))


def chosen_network(request: Request, adaptation: Wanted | MaskPlan | None) -> tuple[Network | None, list[str]]:
    """The network to begin with, None where the method has none, and the decisions on it in words.

    Raises:
        RequestError: its weights are not there, or do not fit.
    """
    weights = weights_file(request)
    if weights is None:
        return None, []
    said = [f"weights: {weights}, by --weights"] if request.weights is not None else []
    if isinstance(adaptation, Wanted) and adaptation.record is not None:
        weights = adaptation.path
        said.append(f"adapt: {weights.name} fits and is used ({adaptation.record.verdict}); remove it to adapt again")
    return load_weights(request, weights), said


def _too_few(keys: Sequence[int], cuts: Sequence[int]) -> RequestError:
    parts = f"; new shots begin at {listed(cuts)}" if cuts else ""
    return RequestError(
        f"--adapt: expected {_FEWEST} keys or more in one shot, so that one can be predicted from those around it, got "
        f"keys {listed(keys) or 'nowhere'}{parts}; paint more keys, or leave --adapt out"
    )
