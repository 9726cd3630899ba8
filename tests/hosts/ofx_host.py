"""A small OpenFX host: enough to load an image effect, describe it, make nodes and render them, from any thread.

It is strict where hosts are lenient: a bad handle, an image that is not released, a byte written beside the pixels or
an instance left over is an error of `Host.close`. Variadic calls are taken as the x86-64 convention passes them.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ofx_images import Array, Clip, Image, Layout
from ofx_properties import DEFAULT, OK, Handle, PropertySet, Text
from ofx_suites import Parameter, Suites

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int, Text, Handle, Handle, Handle)
_FETCH = ctypes.CFUNCTYPE(Handle, Handle, Text, ctypes.c_int)


class _HostStructure(ctypes.Structure):
    _fields_ = [("host", Handle), ("fetch", _FETCH)]


class _PluginStructure(ctypes.Structure):
    _fields_ = [
        ("api", Text),
        ("api_version", ctypes.c_int),
        ("identifier", Text),
        ("major", ctypes.c_uint),
        ("minor", ctypes.c_uint),
        ("set_host", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("entry", _ENTRY),
    ]


class HostError(AssertionError):
    """The plugin has broken a rule of the interface."""


class Effect:
    """A descriptor, or with `source` a node made from it."""

    def __init__(self, host: Host, values: dict[str, Any], source: Effect | None = None) -> None:
        self.host = host
        self.properties = PropertySet(host.objects, values)
        self.parameter_properties = PropertySet(host.objects)
        self.clips: dict[str, Clip] = {}
        self.parameters: dict[str, Parameter] = {}
        self.order: list[str] = []
        self.handle = host.objects.add(self)
        self.parameter_handles: dict[str, int] = {}
        self.clip_handles: dict[str, int] = {}
        self.aborting: Callable[[], bool] = lambda: False
        self.outputs: dict[int, Image] = {}
        self.wanted: dict[int, Array] = {}
        for name, clip in (source.clips if source else {}).items():
            copied = PropertySet(host.objects, {**clip.properties.values, "OfxImageClipPropConnected": 0})
            self.clips[name] = Clip(name, copied)
            self.clip_handles[name] = host.objects.add(self.clips[name])
        for name, one in (source.parameters if source else {}).items():
            copied = PropertySet(host.objects, one.properties.values)
            value = copied.one("OfxParamPropDefault")
            self.parameters[name] = Parameter(name, one.kind, copied, value)
            self.parameter_handles[name] = host.objects.add(self.parameters[name])

    def __setitem__(self, name: str, value: Any) -> None:
        """Sets a parameter; of a choice its place."""
        self.parameters[name].value = value

    def changed(self, name: str) -> int:
        """Tells the plugin that a person has changed a parameter."""
        values = {"OfxPropType": "OfxTypeParameter", "OfxPropName": name, "OfxPropTime": 0.0}
        values |= {"OfxPropChangeReason": "OfxChangeUserEdited", "OfxImageEffectPropRenderScale": (1.0, 1.0)}
        return self.host.call("OfxActionInstanceChanged", self, values)[0]

    def frames_needed(self, time: float) -> dict[str, list[float]] | None:
        """First and last frames by input, None where the plugin does not say."""
        names = [name for name, clip in self.clips.items() if clip.picture and name != "Output"]
        given = {f"OfxImageClipPropFrameRange_{name}": (time, time) for name in names}
        status, out = self.host.call("OfxImageEffectActionGetFramesNeeded", self, {"OfxPropTime": time}, given)
        return {name: out.values[f"OfxImageClipPropFrameRange_{name}"] for name in names} if status == OK else None

    def identity(self, time: float) -> tuple[str, float] | None:
        """The input and time that pass through, None where the frame is to be rendered."""
        given = {"OfxPropName": "", "OfxPropTime": time}
        window = {"OfxImageEffectPropRenderWindow": (0, 0, 1, 1), "OfxImageEffectPropRenderScale": (1.0, 1.0)}
        arguments = {"OfxPropTime": time, "OfxImageEffectPropFieldToRender": "OfxFieldNone", **window}
        status, out = self.host.call("OfxImageEffectActionIsIdentity", self, arguments, given)
        assert status in (OK, DEFAULT), status
        return (out.one("OfxPropName"), out.one("OfxPropTime")) if status == OK else None

    def preferences(self) -> dict[str, Any]:
        """What the plugin has set among the clip preferences."""
        given: dict[str, Any] = {"OfxImageEffectPropPreMultiplication": "", "OfxImageEffectFrameVarying": 0}
        for name in self.clips:
            for what in ("Components", "Depth", "PreferredColourspaces"):
                given[f"OfxImageClipProp{what}_{name}"] = ""
        status, out = self.host.call("OfxImageEffectActionGetClipPreferences", self, None, given)
        assert status in (OK, DEFAULT)
        return {name: values[0] for name, values in out.values.items() if values[0] not in ("", 0)}

    def render(self, time: float, like: Array, scale: float = 1.0, window: Any = None, fielded: str = "None") -> Any:
        """Renders a frame of the shape and depth of `like`; the pixels, or None where the plugin has failed."""
        thread = threading.get_ident()
        self.wanted[thread] = like
        x1, y1 = self.clips["Output"].layout.origin
        whole = (x1, y1, x1 + like.shape[1], y1 + like.shape[0])
        arguments = {
            "OfxPropTime": time,
            "OfxImageEffectPropFieldToRender": f"OfxField{fielded}",
            "OfxImageEffectPropRenderWindow": window or whole,
            "OfxImageEffectPropRenderScale": (scale, scale),
        }
        status, _ = self.host.call("OfxImageEffectActionRender", self, arguments)
        output = self.outputs.pop(thread, None)
        if status != OK:
            return None
        return None if output is None else output.pixels()

    def destroy(self) -> None:
        """Ends the node."""
        status, _ = self.host.call("OfxActionDestroyInstance", self)
        assert status == OK
        assert self.properties.one("OfxPropInstanceData") in (None, 0)
        self.host.nodes.remove(self)


class Host(Suites):
    """Loads a bundle.

    Attributes:
        properties: of the host.
        messages, progress: versions of those suites; None: the host has none. Later what came through them.
        load_status, describe_status: what the plugin answered.
    """

    def __init__(
        self,
        bundle: Path,
        properties: dict[str, Any] | None = None,
        messages: int | None = 2,
        progress: int | None = 2,
    ) -> None:
        super().__init__(messages, progress)
        defaults = {"OfxImageEffectPropMultipleClipDepths": 1, "OfxImageEffectPropTemporalClipAccess": 1}
        self.properties = PropertySet(self.objects, defaults | (properties or {}))
        fetch = _FETCH(self._fetch)
        self._structure = _HostStructure(self.properties.handle, fetch)
        self._kept.append(fetch)
        binary = next(bundle.glob("Contents/*/*.ofx"))
        self.library = ctypes.CDLL(str(binary), mode=ctypes.RTLD_LOCAL)
        self.library.OfxGetPlugin.restype = ctypes.POINTER(_PluginStructure)
        assert self.library.OfxSetHost(ctypes.byref(self._structure)) == OK
        assert self.library.OfxGetNumberOfPlugins() == 1
        self.plugin = self.library.OfxGetPlugin(0).contents
        self.plugin.set_host(ctypes.addressof(self._structure))
        self.load_status = self.plugin.entry(b"OfxActionLoad", None, None, None)
        self.descriptor = Effect(self, {"OfxPropType": "OfxTypeImageEffect"})
        self.describe_status = self.call("OfxActionDescribe", self.descriptor)[0]

    def describe(self, context: str = "General") -> Effect:
        """The description for a context."""
        described = Effect(self, self.descriptor.properties.values)
        arguments = {"OfxImageEffectPropContext": f"OfxImageEffectContext{context}"}
        assert self.call("OfxImageEffectActionDescribeInContext", described, arguments)[0] == OK
        return described

    def create(self, context: str = "General", **properties: Any) -> Effect:
        """A new node, nothing connected, parameters at their defaults."""
        values = {"OfxPropType": "OfxTypeImageEffectInstance", "OfxPropInstanceData": 0, **properties}
        values["OfxImageEffectPropContext"] = f"OfxImageEffectContext{context}"
        node = Effect(self, values, self.describe(context))
        self.nodes.append(node)
        assert self.call("OfxActionCreateInstance", node)[0] == OK
        assert node.properties.one("OfxPropInstanceData")
        return node

    def call(self, action: str, effect: Effect, given: Any = None, out: Any = None) -> tuple[int, PropertySet]:
        """An action with its arguments; returns the status and what came back."""
        arguments = PropertySet(self.objects, given) if given is not None else None
        results = PropertySet(self.objects, out, locked=True)
        handles = (arguments.handle if arguments else None, results.handle if out is not None else None)
        status = self.plugin.entry(action.encode(), effect.handle, *handles)
        for used in (arguments, results):
            if used:
                self.objects.drop(used.handle)
        return status, results

    def close(self) -> None:
        """Ends all nodes and unloads; raises HostError if the plugin has left something behind or broken a rule."""
        for node in list(self.nodes):
            node.destroy()
        if self.load_status == OK:
            assert self.plugin.entry(b"OfxActionUnload", None, None, None) == OK
        if left := self.objects.count(Image):
            self.problems.append(f"{left} images were not released")
        if self.problems:
            raise HostError("; ".join(self.problems))

    @property
    def complaint(self) -> str | None:
        """The persistent message that stands at the node now."""
        standing = None
        for kind, _, text in self.messages:
            standing = text if kind == "persistent" else None if kind == "clear" else standing
        return standing


@contextmanager
def loaded(bundle: Path, **options: Any) -> Iterator[Host]:
    """A host that is closed, and then checked, at the end."""
    host = Host(bundle, **options)
    try:
        yield host
    finally:
        host.close()


__all__ = ["Array", "Clip", "Effect", "Host", "HostError", "Image", "Layout", "loaded"]
