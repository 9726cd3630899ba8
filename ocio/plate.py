"""Plates in and out: everything that was not asked to change comes out as it went in.

EXR goes through the OpenEXR library with a header check of our own in front, everything else through OpenImageIO. This
module is the way in: `inspect_plate` and `read_plate` for files, `new_plate` for pixels that were never a file,
`write_plate` for both.
"""

from stpn.ocio.plate_info import ChannelInfo, PartInfo, PlateError, PlateInfo, RawAttribute, Window
from stpn.ocio.plate_pixels import Plate
from stpn.ocio.plate_read import empty_like, inspect_plate, read_plate
from stpn.ocio.plate_write import new_plate, write_plate

__all__ = [
    "ChannelInfo",
    "PartInfo",
    "Plate",
    "PlateError",
    "PlateInfo",
    "RawAttribute",
    "Window",
    "empty_like",
    "inspect_plate",
    "new_plate",
    "read_plate",
    "write_plate",
]
