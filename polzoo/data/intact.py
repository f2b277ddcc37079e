"""Is a PNG or JPEG whole? Decoders fill what a cut or damaged file lacks with grey and say nothing; this says it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PIECE = 1 << 20


def header_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that a PNG or JPEG claims, read without decoding it; None for other formats or no header."""
    if data.startswith(PNG):
        if len(data) < 24 or data[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    if data.startswith(JPEG):
        for marker, at, _ in _jpeg_segments(data):
            if marker in _SOF and at + 7 <= len(data):
                height, width = struct.unpack(">HH", data[at + 3 : at + 7])
                return height, width
    return None


def png_kind(data: bytes) -> tuple[int, int] | None:
    """(bits per channel, colour type) of a PNG: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    return (data[24], data[25]) if data.startswith(PNG) and len(data) > 25 else None


def flaw(data: bytes, rows: bool = True) -> str | None:
    """What is wrong with the structure of a PNG or JPEG, in words; None when it is whole or another format.

    ``rows=False`` takes a PNG's chunks at their checksums, which find every cut and every changed byte, and leaves it
    to the decoder to miss rows that were never written. Else they are counted, which takes as long as decoding does.
    """
    if data.startswith(PNG):
        return _png_flaw(data, rows)
    if data.startswith(JPEG):
        return _jpeg_flaw(data)
    return None


def _png_flaw(data: bytes, rows: bool) -> str | None:
    at, stream, size, ended = len(PNG), zlib.decompressobj(), 0, False
    while not ended:
        if at + 12 > len(data):
            return "cut off (no end chunk)"
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            return "cut off (inside a chunk)"
        if zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack(">I", data[end : end + 4])[0]:
            return f"damaged (checksum of chunk {kind.decode('ascii', 'replace')!r})"
        if at == len(PNG) and (kind != b"IHDR" or length != 13):
            return "damaged (its first chunk is no header)"
        if rows and kind == b"IDAT":
            try:
                size += _inflate(stream, data[at + 8 : end])
            except zlib.error:
                return "damaged (its compressed pixels)"
        ended, at = kind == b"IEND", end + 4
    return None if not rows or (stream.eof and size >= _png_bytes(data)) else "incomplete (pixels are missing)"


def _inflate(stream: zlib._Decompress, data: bytes) -> int:
    """How many bytes ``data`` adds, decompressed piece by piece so that a bomb costs no memory."""
    size = 0
    while data and not stream.eof:
        size += len(stream.decompress(data, _PIECE))
        data = stream.unconsumed_tail
    return size


def _png_bytes(data: bytes) -> int:
    """Least number of decompressed bytes that the header asks for (0 for the rare interlaced files)."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return 0 if interlaced else height * (1 + (width * depth * _CHANNELS.get(colour, 1) + 7) // 8)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first scan; start is where its length field stands."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, at + 2, end
        if marker == 0xDA:
            return
        at = end


def _jpeg_flaw(data: bytes) -> str | None:
    """The end marker must follow the scan; one inside an embedded thumbnail, before it, does not count."""
    scan = next((end for marker, _, end in _jpeg_segments(data) if marker == 0xDA), None)
    if scan is None:
        return "cut off (no picture data)"
    return None if data.rfind(b"\xff\xd9", scan) >= 0 else "cut off (no end marker)"
