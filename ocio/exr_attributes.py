"""Values of EXR header attributes: bytes of the file to Python values and back, after the published file layout."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from stpn.ocio.plate_info import RawAttribute

COMPRESSIONS = (
    "none",
    "rle",
    "zips",
    "zip",
    "piz",
    "pxr24",
    "b44",
    "b44a",
    "dwaa",
    "dwab",
    "htj2k256",
    "htj2k32",
    "lj2k",
    "zstd",
)
LINE_ORDERS = ("increasing", "decreasing", "random")
ENVIRONMENT_MAPS = ("latlong", "cube")

# struct formats of the types with a fixed layout; all numbers of an EXR are little-endian.
LAYOUTS = {
    "box2f": "<4f",
    "box2i": "<4i",
    "chromaticities": "<8f",
    "compression": "<B",
    "deepImageState": "<B",
    "double": "<d",
    "envmap": "<B",
    "float": "<f",
    "int": "<i",
    "keycode": "<7i",
    "lineOrder": "<B",
    "m33d": "<9d",
    "m33f": "<9f",
    "m44d": "<16d",
    "m44f": "<16f",
    "rational": "<iI",
    "tiledesc": "<IIB",
    "timecode": "<2I",
    "v2d": "<2d",
    "v2f": "<2f",
    "v2i": "<2i",
    "v3d": "<3d",
    "v3f": "<3f",
    "v3i": "<3i",
}
# of the elements of a vector: each becomes an object of its own, many times its bytes in the file
MAXIMUM_STRINGS = 65536
MAXIMUM_FLOATS = 1 << 20

_NAMED_BYTES = {"compression": COMPRESSIONS, "lineOrder": LINE_ORDERS, "envmap": ENVIRONMENT_MAPS}
_SEQUENCE_TYPES = {2: ("v2i", "v2f"), 3: ("v3i", "v3f"), 9: ("m33f", "m33f"), 16: ("m44f", "m44f")}


def split_strings(data: bytes) -> tuple[bytes, ...]:
    """Return the strings of a stringvector, each of which is preceded by its length.

    Raises:
        ValueError: A length that is negative or reaches beyond the attribute; more than `MAXIMUM_STRINGS`.
    """
    strings = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise ValueError("a string vector ends inside a length")
        (length,) = struct.unpack_from("<i", data, position)
        position += 4
        if length < 0 or position + length > len(data):
            raise ValueError(f"a string of {length} bytes does not fit into the {len(data) - position} that are left")
        strings.append(data[position : position + length])
        position += length
        if len(strings) > MAXIMUM_STRINGS:
            raise ValueError(f"a string vector of more than {MAXIMUM_STRINGS} strings")
    return tuple(strings)


def text_of(data: bytes) -> str:
    """Return a header string; one written before UTF-8 was agreed on is read as Latin-1, which cannot fail."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def check_attribute(type_name: str, data: bytes) -> None:
    """Refuse an attribute whose bytes contradict its type.

    Raises:
        ValueError: What is wrong, without saying where.
    """
    layout = LAYOUTS.get(type_name)
    if layout is not None and len(data) != struct.calcsize(layout):
        raise ValueError(f"type {type_name} takes {struct.calcsize(layout)} bytes, it has {len(data)}")
    if type_name == "stringvector":
        split_strings(data)
    if type_name == "floatvector" and len(data) % 4:
        raise ValueError(f"a floatvector takes a multiple of 4 bytes, it has {len(data)}")
    if type_name == "floatvector" and len(data) // 4 > MAXIMUM_FLOATS:
        raise ValueError(f"a floatvector of more than {MAXIMUM_FLOATS} numbers")
    if type_name == "preview":
        if len(data) < 8:
            raise ValueError(f"a preview takes 8 bytes or more, it has {len(data)}")
        width, height = struct.unpack_from("<2I", data)
        if len(data) != 8 + 4 * width * height:
            raise ValueError(f"a preview of {width} x {height} does not fit into {len(data)} bytes")
    names = _NAMED_BYTES.get(type_name)
    if names is not None and data[0] >= len(names):
        raise ValueError(f"{type_name} {data[0]} is unknown, the last known one is {len(names) - 1}")


def attribute_value(type_name: str, data: bytes) -> object:
    """Return the Python value of a checked attribute.

    Returns:
        A number, a string, a tuple of them (box2i: xmin, ymin, xmax, ymax; chromaticities: x and y of red, green, blue,
        white; timecode: time and flags, user data), or a `RawAttribute` for types without a counterpart.
    """
    if type_name == "string":
        return text_of(data)
    if type_name == "stringvector":
        return tuple(text_of(item) for item in split_strings(data))
    if type_name == "floatvector":
        return struct.unpack(f"<{len(data) // 4}f", data)
    if type_name in _NAMED_BYTES:
        return _NAMED_BYTES[type_name][data[0]]
    layout = LAYOUTS.get(type_name)
    if layout is None:
        return RawAttribute(type_name, data)
    values = struct.unpack(layout, data)
    return values[0] if len(values) == 1 else values


def encoded_attribute(name: str, value: object, type_name: str | None = None) -> RawAttribute:
    """Return a Python value as an attribute.

    Args:
        name: Its name, which decides the type of an eight-number tuple (chromaticities) and goes into errors.
        value: A number, a string, a sequence of strings or of 2, 3, 4, 8, 9 or 16 numbers, or a `RawAttribute`.
        type_name: The type the attribute has already, kept if the value fits it.

    Raises:
        ValueError: No type holds this value.
    """
    if isinstance(value, RawAttribute):
        check_attribute(value.type_name, value.data)
        return value
    if isinstance(value, str):
        if type_name in _NAMED_BYTES and value in _NAMED_BYTES[type_name]:
            return RawAttribute(type_name, bytes([_NAMED_BYTES[type_name].index(value)]))
        return RawAttribute("string", value.encode("utf-8"))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        if all(isinstance(item, str) for item in value):
            encoded = [str(item).encode("utf-8") for item in value]
            return RawAttribute("stringvector", b"".join(struct.pack("<i", len(item)) + item for item in encoded))
        numbers = [item if isinstance(item, int) else float(item) for item in value]
    elif isinstance(value, int | float) or hasattr(value, "__float__"):
        numbers = [int(value) if isinstance(value, int) else float(value)]
    else:
        raise ValueError(f"attribute {name!r}: no attribute type holds a {type(value).__name__}")
    whole = all(isinstance(number, int) for number in numbers)
    candidates = [type_name] if type_name in LAYOUTS else []
    if len(numbers) == 1:
        candidates.append("int" if whole else "float")
    elif len(numbers) == 4:
        candidates.append("box2i" if whole else "box2f")
    elif len(numbers) == 8 and name == "chromaticities":
        candidates.append("chromaticities")
    elif len(numbers) in _SEQUENCE_TYPES:
        candidates.append(_SEQUENCE_TYPES[len(numbers)][0 if whole else 1])
    for candidate in candidates:
        layout = LAYOUTS[str(candidate)]
        try:
            data = struct.pack(layout, *numbers)
        except (struct.error, OverflowError):
            continue
        # Rounding a Python float to 24 bits is what a float attribute does; becoming infinite is not.
        if any(
            math.isinf(got) and not math.isinf(put)
            for got, put in zip(struct.unpack(layout, data), numbers, strict=True)
        ):
            continue
        return RawAttribute(str(candidate), data)
    raise ValueError(f"attribute {name!r}: no attribute type holds {value!r}")
