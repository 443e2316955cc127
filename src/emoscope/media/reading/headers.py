"""Read the headers of still images: their size, and whether the file is complete.

OpenCV allocates the whole picture before it decodes, and shows what is missing in grey."""

import re
import struct
import zlib
from pathlib import Path

__all__ = ["is_cut_off", "lacks_end_mark", "picture_size"]

_PNG = b"\x89PNG\r\n\x1a\n"
# In a scan, FF is followed by 0, a restart marker or a filling FF.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Tables, scans, comments and application data: what can follow a scan.
_AFTER_SCAN = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3
_UNCOMPRESSED = (0, 3)  # kinds of BMP
_TAIL_BYTES = 2**16  # some programs append data after the end


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header states; None for an unknown kind or a damaged header."""
    try:
        if data.startswith(_PNG):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"BM"):
            return _bmp_layout(data)[:2]
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(data)
    except struct.error:
        pass
    return None


def lacks_end_mark(path: Path) -> bool:
    """Whether an animated GIF or PNG lacks the mark at its end; False for a file of another kind.

    Neither states its length, so that the mark alone tells whether the file is complete."""
    with path.open("rb") as file:
        start = file.read(len(_PNG))
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    if start.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    return start == _PNG and b"IEND" not in tail


def is_cut_off(data: bytes) -> bool:
    """Whether an image lacks its end, or a PNG has a damaged chunk.

    Other damage inside a JPEG, WebP or BMP cannot be recognised: they have no checksum."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _is_jpeg_cut_off(data)
        if data.startswith(_PNG):
            return _is_png_damaged(data)
        if data.startswith(b"BM"):
            width, height, start, depth, compression = _bmp_layout(data)
            row_bytes = (width * depth + 31) // 32 * 4
            return compression in _UNCOMPRESSED and start + row_bytes * height > len(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            (size,) = struct.unpack_from("<I", data, 4)
            return bool(8 + size > len(data) + 1)  # the last byte may be padding
    except struct.error:
        return True
    return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while (match := _JPEG_MARKER.search(data, position)) and match[1][0] not in (_EOI, _SOS):
        if match[1][0] in _SOF:
            height, width = struct.unpack_from(">HH", data, match.end() + 3)
            return width, height
        position = _segment_end(data, match.end())
    return None


def _is_jpeg_cut_off(data: bytes) -> bool:
    """Whether something other than the picture's next scan or its end follows a scan."""
    position, has_scan = 2, False
    while match := _JPEG_MARKER.search(data, position):
        marker = match[1][0]
        if marker == _EOI:
            return not has_scan
        if marker == _SOI or (has_scan and marker not in _AFTER_SCAN):
            return True
        has_scan = has_scan or marker == _SOS
        position = _segment_end(data, match.end())
    return True


def _segment_end(data: bytes, start: int) -> int:
    length = int.from_bytes(data[start : start + 2], "big")
    return start + max(length, 2)


def _is_png_damaged(data: bytes) -> bool:
    position, kind = 8, b""
    while kind != b"IEND" and position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if zlib.crc32(data[position + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return True
        position = end + 4
    return kind != b"IEND"


def _bmp_layout(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, position of the pixels, bits a pixel, and kind of compression."""
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == 12:  # of OS/2
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        return width, height, start, depth, 0
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    return abs(width), abs(height), start, depth, compression


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    values = {}
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        form = "H" if kind == _TIFF_SHORT else "I"
        (values[tag],) = struct.unpack_from(order + form, data, position + 8)
    if {_TIFF_WIDTH, _TIFF_HEIGHT} <= values.keys():
        return values[_TIFF_WIDTH], values[_TIFF_HEIGHT]
    return None
