"""The suites of the small OpenFX host: what a plugin may call."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ofx_images import Clip, Image, Rectangle
from ofx_properties import (
    BAD_HANDLE,
    FAILED,
    OK,
    REPLY_NO,
    UNKNOWN,
    Handle,
    Objects,
    PropertySet,
    Text,
    property_suite,
    suite,
)

_OUT = ctypes.POINTER(ctypes.c_void_p)


@dataclass
class Parameter:
    """A parameter: its description, and on a node its value. A pointer to a text stays valid as long as the node."""

    name: str
    kind: str
    properties: PropertySet
    value: Any = None
    kept: dict[str, Any] = field(default_factory=dict)


class Lent:
    """An image in the plugin's hands: looked into as a property set, released as an image."""

    def __init__(self, image: Image, handle: int) -> None:
        self.image, self.handle = image, handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image.properties, name)


class Suites:
    """What a host hands to its plugin.

    Attributes:
        objects: what handles stand for.
        messages: what the plugin has said: (kind, type, text), with kinds message, persistent and clear.
        progress: calls of the progress suite: ("start", label), ("update", x), ("end", None).
        cancel_in_progress: whether a person presses cancel.
        problems: rules that the plugin has broken.
        nodes: instances that are not destroyed.
    """

    def __init__(self, messages: int | None, progress: int | None) -> None:
        self.objects = Objects()
        self.messages: list[tuple[str, str, str]] = []
        self.progress: list[tuple[str, Any]] = []
        self.problems: list[str] = []
        self.nodes: list[Any] = []
        self.cancel_in_progress = False
        self._suites: dict[tuple[str, int], Any] = {}
        self._kept: list[Any] = []
        self._make_suites(messages, progress)

    def _fetch(self, _: int, name: bytes, version: int) -> int | None:
        found = self._suites.get((name.decode(), version))
        return ctypes.addressof(found) if found is not None else None

    def _guarded(self, function: Callable[..., int]) -> Callable[..., int]:
        def called(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except KeyError as error:
                self.problems.append(f"{function.__name__}: bad handle {error}")
                return BAD_HANDLE
            except Exception as error:
                self.problems.append(f"{function.__name__}: {error!r}")
                return FAILED

        return called

    def _add(self, name: str, version: int, members: list[Any]) -> None:
        wrapped = [(function and self._guarded(function), ctypes.c_int, arguments) for function, arguments in members]
        self._suites[name, version], kept = suite(wrapped)
        self._kept += kept

    def _make_suites(self, messages: int | None, progress: int | None) -> None:
        self._suites["OfxPropertySuite", 1], kept = property_suite(self.objects, self._guarded)
        self._kept += kept
        two, double = (Handle, _OUT), ctypes.c_double
        effect = [
            (self._properties_of, two),
            (self._parameters_of, two),
            (self._define_clip, (Handle, Text, _OUT)),
            (self._find_clip, (Handle, Text, _OUT, _OUT)),
            (self._properties_of, two),
            (self._image, (Handle, double, Handle, _OUT)),
            (self._release, (Handle,)),
            (self._region, (Handle, double, ctypes.POINTER(Rectangle))),
            (lambda handle: int(self.objects.find(handle).aborting()), (Handle,)),
            *[(None, ())] * 4,
        ]
        self._add("OfxImageEffectSuite", 1, effect)
        parameters: list[Any] = [(None, ())] * 18
        parameters[0] = (self._define_parameter, (Handle, Text, Text, _OUT))
        parameters[1] = (self._find_parameter, (Handle, Text, _OUT, _OUT))
        parameters[2] = (self._parameter_set_properties, two)
        parameters[3] = (self._properties_of, two)
        parameters[4] = (lambda handle, out: self._value(handle, 0, out), two)
        parameters[5] = (self._value, (Handle, double, _OUT))
        self._add("OfxParameterSuite", 1, parameters)
        said = (Handle, Text, Text, Text, Handle, Handle, Handle)
        if messages is not None:
            self._add("OfxMessageSuite", 1, [(self._said("message"), said)])
        if messages == 2:
            kinds = [(self._said("message"), said), (self._said("persistent"), said), (self._cleared, (Handle,))]
            self._add("OfxMessageSuite", 2, kinds)
        if progress is not None:
            start = (Handle, Text, Text) if progress == 2 else (Handle, Text)
            rest = [(self._progressed, (Handle, double)), (self._progress_ended, (Handle,))]
            self._add("OfxProgressSuite", progress, [(self._progress_started, start), *rest])

    def _properties_of(self, handle: int, out: Any) -> int:
        out[0] = self.objects.find(handle).properties.handle
        return OK

    def _parameters_of(self, handle: int, out: Any) -> int:
        self.objects.find(handle)
        out[0] = handle
        return OK

    def _parameter_set_properties(self, handle: int, out: Any) -> int:
        out[0] = self.objects.find(handle).parameter_properties.handle
        return OK

    def _define_clip(self, handle: int, name: bytes, out: Any) -> int:
        clip = Clip(name.decode(), PropertySet(self.objects, {"OfxPropName": name.decode()}))
        self.objects.find(handle).clips[clip.name] = clip
        if out:
            out[0] = clip.properties.handle
        return OK

    def _find_clip(self, handle: int, name: bytes, clip: Any, properties: Any) -> int:
        effect = self.objects.find(handle)
        if name.decode() not in effect.clip_handles:
            return UNKNOWN
        clip[0] = effect.clip_handles[name.decode()]
        if properties:
            properties[0] = effect.clips[name.decode()].properties.handle
        return OK

    def _image(self, handle: int, time: float, region: int | None, out: Any) -> int:
        clip = self.objects.find(handle)
        if clip.name == "Output":
            effect = next(one for one in self.nodes if clip in one.clips.values())
            thread = threading.get_ident()
            pattern = np.full(effect.wanted[thread].shape, 77, effect.wanted[thread].dtype)
            image = effect.outputs[thread] = Image(self.objects, pattern, clip.layout, "output")
        else:
            image = clip.image(self.objects, time)
            if image is None:
                return FAILED
        handle = self.objects.add(image)
        # The plugin sees a property set; the image goes by the same handle, so that its release is seen.
        self.objects._known[image.properties.handle] = Lent(image, handle)
        out[0] = image.properties.handle
        return OK

    def _release(self, handle: int) -> int:
        lent = self.objects.find(handle)
        image = lent.image
        if image.properties.one("OfxImagePropUniqueIdentifier") == "output":
            if not image.guards_untouched():
                self.problems.append("bytes beside the output's pixels were written")
        elif not image.untouched():
            self.problems.append("an input image was written")
        self.objects.drop(lent.handle)
        self.objects.drop(handle)
        return OK

    def _region(self, handle: int, time: float, out: Any) -> int:
        clip = self.objects.find(handle)
        out[0] = Rectangle(*clip.region())
        return OK

    def _define_parameter(self, handle: int, kind: bytes, name: bytes, out: Any) -> int:
        effect = self.objects.find(handle)
        properties = PropertySet(self.objects, {"OfxPropName": name.decode()})
        effect.parameters[name.decode()] = Parameter(name.decode(), kind.decode(), properties)
        out[0] = properties.handle
        return OK

    def _find_parameter(self, handle: int, name: bytes, out: Any, properties: Any) -> int:
        effect = self.objects.find(handle)
        if name.decode() not in effect.parameter_handles:
            return UNKNOWN
        out[0] = effect.parameter_handles[name.decode()]
        if properties:
            properties[0] = effect.parameters[name.decode()].properties.handle
        return OK

    def _value(self, handle: int, time: float, out: Any) -> int:
        one = self.objects.find(handle)
        value = one.value(time) if callable(one.value) else one.value
        if one.kind == "OfxParamTypeString":
            kept = one.kept.setdefault(value, ctypes.create_string_buffer(value.encode("utf-8", "surrogateescape")))
            out[0] = ctypes.addressof(kept)
        elif one.kind == "OfxParamTypeDouble":
            ctypes.cast(out, ctypes.POINTER(ctypes.c_double))[0] = value
        else:
            ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = value
        return OK

    def _said(self, kind: str) -> Callable[..., int]:
        def say(_: int, of: bytes, __: bytes, form: bytes, *values: int | None) -> int:
            texts = [ctypes.string_at(value or 0).decode() for value in values[: form.count(b"%s")]]
            self.messages.append((kind, of.decode(), form.decode().replace("%s", "{}").format(*texts)))
            return OK

        return say

    def _cleared(self, _: int) -> int:
        self.messages.append(("clear", "", ""))
        return OK

    def _progress_started(self, _: int, label: bytes, *more: Any) -> int:
        self.progress.append(("start", label.decode()))
        return OK

    def _progressed(self, _: int, done: float) -> int:
        self.progress.append(("update", done))
        return REPLY_NO if self.cancel_in_progress else OK

    def _progress_ended(self, _: int) -> int:
        self.progress.append(("end", None))
        return OK
