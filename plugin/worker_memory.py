"""The worker's shared memory: pictures and results by key, within one limit; those not asked for longest go first."""

from __future__ import annotations

import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from stpn.plugin.live_pictures import PictureInfo

Key = tuple[str, str]
"""Kind and name: ("picture", ID of the client), ("result", digest of the job)."""

_PAGE = 4096


class FullError(Exception):
    """There is no room, and nothing that could go."""


@dataclass(eq=False)
class Slot:
    """A place in the memory.

    Attributes:
        key: what it holds; None: nothing that anybody could ask for.
        info: what the picture is.
        offset: bytes from the beginning of the memory.
        holders: how many rely on it; it stays as long as there is one.
        about: what else is known of what it holds.
    """

    key: Key | None
    info: PictureInfo
    offset: int
    holders: int = 1
    about: Any = None


class SharedMemory:
    """Memory without a name, which others map by its descriptor and which is gone with the last of them.

    Pages take real memory only once they are written.
    """

    def __init__(self, size: int) -> None:
        """Takes its size in bytes."""
        self.size = -(-size // _PAGE) * _PAGE
        self.descriptor = _anonymous(self.size)
        self._map = mmap.mmap(self.descriptor, self.size)
        self._view = memoryview(self._map)

    def at(self, slot: Slot) -> memoryview:
        """The bytes of a slot."""
        return self._view[slot.offset : slot.offset + slot.info.size]

    def empty(self) -> None:
        """Gives its pages back to the system, also where others have it mapped, who find zeros from then on."""
        if hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE)


def _anonymous(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stpn-frames", os.MFD_CLOEXEC)
    else:
        import _posixshmem  # type: ignore[import-not-found]
        import secrets

        name = f"/stpn-{secrets.token_hex(8)}"
        descriptor = _posixshmem.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
        _posixshmem.shm_unlink(name)
    os.ftruncate(descriptor, size)
    return descriptor


class Store:
    """Who holds which place of the memory; safe to use from several threads."""

    def __init__(self, memory: SharedMemory, in_use: Callable[[], Collection[str]], forget: Callable[[], bool]) -> None:
        """Takes the memory and whoever reads pictures beyond those that hold them.

        Args:
            memory: of all slots.
            in_use: IDs of pictures that must stay.
            forget: makes `in_use` fewer; whether it could.
        """
        self._memory, self._in_use, self._forget = memory, in_use, forget
        self._free = [(0, memory.size)]  # offset and size, ascending, never two side by side
        self._slots: OrderedDict[Key, Slot] = OrderedDict()
        self._lock = threading.Lock()

    def hold(self, key: Key) -> Slot | None:
        """The slot of a key, held; None where there is none."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return None
            self._slots.move_to_end(key)
            slot.holders += 1
            return slot

    def reserve(self, info: PictureInfo) -> Slot:
        """A slot for a picture, held; nobody else finds it before it is `committed`.

        Raises:
            FullError: everything is held or in use.
        """
        with self._lock:
            return Slot(None, info, self._room(info.size))

    def commit(self, slot: Slot, key: Key) -> Slot:
        """The picture is in place; from now on it is found by its key.

        Returns:
            The slot, or that of somebody who was first, held in its place: what is kept of a picture beyond a job is
            kept by its key, so that all must read the one that has it.
        """
        with self._lock:
            first = self._slots.setdefault(key, slot)
            if first is slot:
                slot.key = key
            else:
                first.holders += 1
                slot.holders -= 1
                self._give(slot)
            return first

    def release(self, slot: Slot) -> None:
        """Gives up one hold."""
        with self._lock:
            slot.holders -= 1
            if slot.holders == 0 and slot.key is None:
                self._give(slot)

    def _room(self, size: int) -> int:
        size = -(-size // _PAGE) * _PAGE
        while True:
            for index, (offset, free) in enumerate(self._free):
                if free >= size:
                    self._free[index : index + 1] = [(offset + size, free - size)] if free > size else []
                    return offset
            used = {("picture", name) for name in self._in_use()}
            idle = next((slot for key, slot in self._slots.items() if not slot.holders and key not in used), None)
            if idle is not None:
                assert idle.key is not None
                del self._slots[idle.key]
                self._give(idle)
            elif not self._forget():
                gigabytes = self._memory.size / 1e9
                raise FullError(
                    f"expected room for a picture of {size / 1e6:.0f} MB, found all of the {gigabytes:.1f} GB for "
                    "pictures in use; set STPN_WORKER_MEMORY to more bytes, or work with smaller pictures or keys that "
                    "are closer together"
                )

    def _give(self, slot: Slot) -> None:
        """Back to what is free, joined with its neighbours."""
        size = -(-slot.info.size // _PAGE) * _PAGE
        self._free.append((slot.offset, size))
        self._free.sort()
        joined = self._free[:1]
        for offset, size in self._free[1:]:
            last, length = joined[-1]
            if last + length == offset:
                joined[-1] = (last, length + size)
            else:
                joined.append((offset, size))
        self._free = joined
