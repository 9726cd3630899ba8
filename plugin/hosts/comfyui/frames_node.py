"""STPN Propagate for pictures in memory: frames are made by the worker, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from .batch_keys import key_frames, order, serving
from .face import CATEGORY, NODE, help_of, parameters, values, widgets
from .worker_client import Cancelled, Installation, Job, Picture, WorkerClient, WorkerError

_log = logging.getLogger("stpn")

COLORSPACE = "sRGB - Texture"
"""What ComfyUI's pictures nominally are; every built-in OCIO config has the name or the alias."""

_PARAMETERS = parameters(files=False)
_COUNTED = "Frames are counted from 0 here."
_ADDITIONS = {
    "first_key": "Empty here: 0. " + _COUNTED,
    "key_frames": f"As many as Keys has pictures. {_COUNTED}",
    "colorspace": "Auto here: sRGB.",
    "keys_colorspace": "Auto here: sRGB; of HDR keys scene_linear.",
}
_OF_CLIENT = ("interval", "first_key", "key_frames")  # which keys serve a frame is decided here
_STEPS = 1000  # of a frame, in the progress bar

# kept from one run to the next, because a worker without clients ends and forgets what it has computed
_clients: dict[str, WorkerClient] = {}


class PropagateFrames(io.ComfyNode):
    """Pictures in, pictures out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The face, from `node.json`."""
        return io.Schema(
            node_id="STPNPropagate",
            display_name=NODE["name"],
            category=CATEGORY,
            description=f"{NODE['help']}\n\n{_COUNTED} Values below 0 and above 1 pass as they are.",
            inputs=[
                io.Image.Input("source", display_name="Source", tooltip=help_of("Source")),
                io.Image.Input(
                    "keys",
                    display_name="Keys",
                    tooltip="The key frames alone, in order, painted or rendered, of the plate's size. The first "
                    "stands at First key, each further one an Interval later; or they stand at Key frames.",
                ),
                io.Mask.Input("matte", display_name="Matte", optional=True, tooltip=help_of("Matte")),
                *widgets(_PARAMETERS, _ADDITIONS),
            ],
            outputs=[
                io.Image.Output("image", display_name="Image"),
                io.Mask.Output("confidence", display_name="Confidence", tooltip="How sure each pixel is: 0 to 1."),
            ],
        )

    @classmethod
    def execute(cls, source: Any, keys: Any, matte: Any = None, **given: Any) -> io.NodeOutput:
        """Makes every frame.

        Args:
            source: (B, H, W, 3 or 4) float32, the plate.
            keys: (N, H, W, 1, 3 or 4) float32, the key frames in order.
            matte: (B or 1, H, W) float32, or None.
            given: the parameters by name.

        Returns:
            (B, H, W, 3 or 4) float32, with alpha where Source or Keys have it; and (B, H, W) float32.

        Raises:
            ValueError: something does not fit.
            RuntimeError: a frame could not be made.
        """
        import comfy.model_management
        import comfy.utils

        settings = values(_PARAMETERS, given)
        shot = _Shot(source, keys, matte, settings)
        bar = comfy.utils.ProgressBar(shot.count * _STEPS)
        client = _client(settings["device"])
        try:
            image, confidence = shot.render(
                client,
                # the bar raises, too, where ComfyUI was told to stop; the worker's job ends with the connection
                lambda done: bar.update_absolute(int(done * _STEPS)),
                comfy.model_management.processing_interrupted,
            )
        except Cancelled:
            comfy.model_management.throw_exception_if_processing_interrupted()
            raise
        except WorkerError as error:
            raise RuntimeError(error.reason) from error  # ComfyUI shows the name of its type, which says nothing
        return io.NodeOutput(torch.from_numpy(image), torch.from_numpy(confidence))


class _Shot:
    """Everything that one run works on, checked."""

    def __init__(self, source: Any, keys: Any, matte: Any, settings: Mapping[str, Any]) -> None:
        plate, painted = _array(source, "Source"), _array(keys, "Keys")
        self.count, self._height, self._width, channels = plate.shape
        size = (self._height, self._width)
        if painted.shape[1:3] != size:
            raise ValueError(f"Keys: expected the Source's size {_of(size)}, got {_of(painted.shape[1:3])}")
        self._channels = "RGBA" if 4 in (channels, painted.shape[3]) else "RGB"
        self._settings = settings
        self._plate = plate
        self._key_frames = key_frames(settings, self.count, len(painted))
        self._sources = [Picture(frame, _names(channels)) for frame in plate]
        self._keys = {
            number: Picture(frame, _names(painted.shape[3]))
            for number, frame in zip(self._key_frames, painted, strict=True)
        }
        self._mattes = _mattes(matte, self.count, size)
        # every frame has a key, or nothing is begun
        self._serving = [serving(frame, self._key_frames, settings["keys_used"]) for frame in range(self.count)]
        self._noted: set[str] = set()

    def render(
        self, client: WorkerClient, progress: Callable[[float], None], cancelled: Callable[[], bool]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All frames and their confidence; `progress` is told in frames."""
        image = np.ones((self.count, self._height, self._width, len(self._channels)), np.float32)
        confidence = np.ones((self.count, self._height, self._width), np.float32)
        image[..., : self._plate.shape[3]] = self._plate
        for made, frame in enumerate(order(self._serving)):
            result = client.render(self._job(frame), lambda done, what, at=made: progress(at + done), cancelled)
            _fits(result.pixels, image.shape[1:3])
            for channel, name in enumerate(result.channels):
                image[frame, ..., self._channels.index(name)] = result.pixels[..., channel]
            for note in sorted(set(result.notes) - self._noted):
                _log.info("%s: %s", NODE["name"], note)
                self._noted.add(note)
            if frame not in self._key_frames:
                sure = client.render(self._job(frame, confidence=True), cancelled=cancelled)
                _fits(sure.pixels, image.shape[1:3])
                confidence[frame] = sure.pixels[..., 0]
            progress(made + 1)
        return image, confidence

    def _job(self, frame: int, confidence: bool = False) -> Job:
        keys = self._serving[frame]
        touched = range(min(frame, *keys), max(frame, *keys) + 1)
        settings = {name: value for name, value in self._settings.items() if name not in _OF_CLIENT}
        if confidence:  # of what is carried, wherever it is shown
            settings |= {"output": "confidence", "mix": 1.0}
        return Job(
            frame=frame,
            sources={number: self._sources[number] for number in touched},
            keys={number: self._keys[number] for number in keys},
            parameters=settings,
            matte=None if confidence or self._mattes is None else self._mattes[frame],
            colorspace=COLORSPACE,
            keys_colorspace="" if settings["property"] == "hdr" else COLORSPACE,
            want=("float", "RGB" if confidence else self._channels),
        )


def _client(device: str) -> WorkerClient:
    if device not in _clients:
        installation = Installation.read(Path(__file__).parent / "stpn.conf")
        _clients[device] = WorkerClient(installation, device, "ComfyUI")
    return _clients[device]


def _array(tensor: Any, name: str) -> np.ndarray[Any, Any]:
    """Pictures as float32 numbers, as they are; one channel three times."""
    array = tensor.detach().to("cpu", torch.float32).numpy()
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"{name}: expected pictures (B, H, W, 3 or 4), got {tuple(array.shape)}")
    return np.repeat(array, 3, axis=3) if array.shape[3] == 1 else array


def _mattes(matte: Any, count: int, size: tuple[int, int]) -> list[Picture] | None:
    """The matte of each frame; one alone is that of all."""
    if matte is None:
        return None
    array = matte.detach().to("cpu", torch.float32).numpy()
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1:] != size or len(array) not in (1, count):
        raise ValueError(
            f"Matte: expected 1 or {count} masks of {_of(size)}, got {tuple(array.shape)}; resize it or repeat it"
        )
    pictures = [Picture(mask[..., None], "A") for mask in array]
    return pictures * count if len(pictures) == 1 else pictures


def _names(channels: int) -> str:
    return "RGBA"[:channels]


def _of(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]}"


def _fits(pixels: np.ndarray[Any, Any], size: Sequence[int]) -> None:
    if pixels.shape[:2] != tuple(size):
        raise ValueError(f"worker: expected a picture of {_of(size)}, got {_of(pixels.shape[:2])}")
