"""The network for mattes that `stpn analyse` has adapted, beside its analysis, so that chunks need not adapt it again.

It holds what each chunk would come to by itself. A file that is missing, damaged, or of other keys or weights is not
taken; the chunk then adapts by itself, to the same network.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.ocio.atomic import written_whole
from stpn.ocio.plate import PlateError
from stpn.plugin.networks import load_weights, weights_file
from stpn.plugin.request import Request, RequestError
from stpn.plugin.result_digest import ResultDigests

if TYPE_CHECKING:
    from stpn.engine.properties.mask_network import MaskRefiner
    from stpn.plugin.adaptation_plan import MaskPlan
    from stpn.plugin.networks import Network


def kept_path(analysis: Path) -> Path:
    """Where the network lies: result.analysis.safetensors beside result.analysis.json."""
    return analysis.with_suffix(".safetensors")


def keep(path: Path, request: Request, digests: ResultDigests, network: MaskRefiner) -> None:
    """Writes a network; the file is there whole or as it was.

    Args:
        path: of `kept_path`.
        request: as asked.
        digests: of the shot, which say what the network was adapted to.
        network: adapted.

    Raises:
        PlateError: an input cannot be read.
        OSError: the folder cannot be written to, or the disk is full.
    """
    from stpn.engine.weights import save_network

    made_of = digests.adapted_network(_weights(request))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.touch()
        mode = part.stat().st_mode
        said = {"property": "mask", "made_of": made_of, "holds": _content(network)}
        save_network(part, network, said)
        part.chmod(mode)  # safetensors lets its owner alone read a file; the other machines of a farm shall too


def kept(request: Request, digests: ResultDigests) -> Network | None:
    """The network that was adapted for a request with an analysis; None where there is none that fits.

    Args:
        request: as asked, with an analysis.
        digests: of the shot.
    """
    from safetensors import SafetensorError, safe_open

    path = kept_path(Path(request.analysis or ""))
    with suppress(OSError, SafetensorError, RequestError, PlateError, KeyError):
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
        if said["made_of"] == digests.adapted_network(_weights(request)):
            network = load_weights(request, path)
            if said["holds"] == _content(network):
                return network
    return None


def known_network(
    request: Request, digests: ResultDigests, network: Network | None, plan: MaskPlan, said: list[str]
) -> tuple[Network | None, MaskPlan | None, list[str]]:
    """The network that `stpn analyse` adapted, with nothing left to be made; or what was given, where none fits.

    Args:
        request, digests: as for `kept`.
        network: to begin with.
        plan: what is to be made of it.
        said: the decisions on it in words.
    """
    found = kept(request, digests)
    if found is None:
        return network, plan, said
    return found, None, [*said, f"adapt: done by stpn analyse, {kept_path(Path(request.analysis or '')).name} is used"]


def _weights(request: Request) -> Path:
    path = weights_file(request)
    assert path is not None
    return path


def _content(network: Network) -> str:
    """SHA-256 of all weights, so that a damaged file is told."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
