"""The methods that can be measured, by the names people type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stpn.engine.alignment import Estimate, Guide8, Image, estimate_flow
from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key, NetworkCarrier
from stpn.engine.evaluation.baselines import BASELINES
from stpn.engine.weights import WeightsError, kind_of, load_aligned, load_network, shipped

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN

METHODS = ("aligned", "flow", "stpn")


class MethodError(Exception):
    """A method cannot be measured: what was expected, what was given, what to do."""


@dataclass(frozen=True)
class Method:
    """A method and what it goes by in tables.

    Attributes:
        label: as typed, without the weights.
        kind: one of `METHODS`.
        weights: of its network; None: those that are shipped.
    """

    label: str
    kind: str
    weights: Path | None = None


def parse_method(text: str, prop: str = "color", reserved: Sequence[str] = BASELINES) -> Method:
    """Reads `aligned`, `flow`, `stpn`, or `LABEL=FILE` for the method whose network's weights the file holds.

    Args:
        text: as typed.
        prop: color or hdr: what the weights must be for.
        reserved: labels of baselines.

    Raises:
        MethodError: no such method, or its weights cannot be used.
    """
    label, weights = named(text, METHODS, reserved)
    kind = label
    if weights is not None:
        kind = "aligned" if kind_in(text, weights) == "AlignedFusion" else "stpn"
        refuse_other_kind(text, label, kind, METHODS)
    method = Method(label, kind, weights)
    network(method, prop)
    return method


def named(text: str, methods: Sequence[str], reserved: Sequence[str]) -> tuple[str, Path | None]:
    """The label and the weights, if any, of a method as typed: one of `methods`, or LABEL=FILE.

    Raises:
        MethodError: it is neither, or the label is reserved.
    """
    label, has_weights, path = text.partition("=")
    if not has_weights:
        if label not in methods:
            raise MethodError(
                f"--method {text}: expected one of {', '.join(methods)}, or LABEL=FILE.safetensors for the method "
                f"that the weights are of{'; that is a --baseline' if label in reserved else ''}"
            )
        return label, None
    if not label or not path or label in ("flow", *reserved):
        raise MethodError(
            f"--method {text}: expected LABEL=FILE.safetensors, and a label other than {', '.join(('flow', *reserved))}"
        )
    return label, Path(path)


def kind_in(text: str, weights: Path) -> str:
    """The class of the network that a file has weights of; `text` is what was typed.

    Raises:
        MethodError: it has none.
    """
    try:
        return kind_of(weights)
    except WeightsError as error:
        raise MethodError(f"--method {text}: {error}") from error


def refuse_other_kind(text: str, label: str, kind: str, methods: Sequence[str]) -> None:
    """Raises MethodError where a label is the name of another method than the weights are of."""
    if label in methods and label != kind:
        raise MethodError(f"--method {text}: expected weights of {label}, got those of {kind}; use another label")


# shipped weights by property and kind, and what networks of that property carry: channels of property and guide
_SHIPPED = {
    ("color", "aligned"): "aligned", ("color", "stpn"): "color", ("hdr", "aligned"): "hdr", ("hdr", "stpn"): "hdr_stpn"
}  # fmt: skip
_CHANNELS = {"color": (2, 1), "hdr": (3, 3)}


@lru_cache(maxsize=16)
def network(method: Method, prop: str = "color") -> SwitchableTPN | AlignedFusion | None:
    """The network of a method, read once; None for flow.

    Raises:
        MethodError: the weights cannot be used.
    """
    if method.kind == "flow":
        return None
    try:
        path = method.weights or shipped(_SHIPPED[prop, method.kind])
        made: SwitchableTPN | AlignedFusion = load_network(path) if method.kind == "stpn" else load_aligned(path)
    except WeightsError as error:
        raise MethodError(f"--method {method.label}: {error}") from error
    carried, guide = _CHANNELS[prop]
    config: Any = made.config
    found = (config.property_channels, config.guide_channels) if method.kind == "stpn" else (config.channels, guide)
    if found != (carried, guide):
        raise MethodError(
            f"--method {method.label}: expected a network for {prop}, property of {carried} channels and guide of "
            f"{guide}, got {found[0]} and {found[1]}"
        )
    return made


def carrier(
    method: Method,
    keys: Sequence[Key],
    lightness: Mapping[int, Image],
    targets: Sequence[int],
    estimate: Estimate = estimate_flow,
) -> Carrier:
    """What carries the keys of a span to its frames.

    Args:
        method: which.
        keys: one or two, ascending.
        lightness: (H, W) float32, 0..100, of every frame from key to target, keys included.
        targets: the frames that will be asked for.
        estimate: of the motion between two frames.
    """
    made: Any = network(method)
    if method.kind == "stpn":
        return NetworkCarrier(keys, lightness, made)
    if method.kind == "aligned":
        return AlignedCarrier(keys, lightness, targets, made, estimate=estimate)
    return FlowCarrier(keys, lightness, targets, estimate=estimate)


class RememberedMotion:
    """`estimate_flow` that estimates the motion between the same two pictures from the same start only once, because
    the methods that are compared ask for the same. It holds all that it gave."""

    def __init__(self) -> None:
        self._flows: dict[bytes, Image] = {}

    def __call__(self, source: Guide8, target: Guide8, start: Image | None) -> Image:
        """See `estimate_flow`."""
        digest = blake2b(source.tobytes(), digest_size=16)
        digest.update(target.tobytes())
        if start is not None:
            digest.update(start.tobytes())
        name = digest.digest()
        if name not in self._flows:
            self._flows[name] = estimate_flow(source, target, start)
        return self._flows[name]
