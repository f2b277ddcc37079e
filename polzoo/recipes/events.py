"""Event files that TensorBoard reads, written without its package.

Format: records of (length, masked CRC-32C of the length, data, masked CRC-32C of the data), as in TensorFlow's
``tfrecord``; the data is an ``Event`` message of ``tensorflow/core/util/event.proto``, in protobuf's wire format.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from polzoo import atomic


class Events:
    """Appends to one event file in a folder; it is made with the first event.

    ``start``: steps beyond it in older files of the folder are not shown, as the run takes them again.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns() // 10**9}.{os.getpid()}.polzoo"
        self.first = [_event(text(3, "brain.Event:2")), _event(message(7, varint(1, 1)), start + 1)]  # session start

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._append(_event(message(5, *(message(1, text(1, k), single(2, v)) for k, v in values.items())), step))

    def image(self, step: int, tag: str, png: bytes, height: int, width: int) -> None:
        """``png``: an encoded picture of ``height`` × ``width`` pixels, RGB."""
        picture = message(4, varint(1, height), varint(2, width), varint(3, 3), text(4, png))
        self._append(_event(message(5, message(1, text(1, tag), picture)), step))

    def _append(self, event: bytes) -> None:
        data = b"".join(map(record, [*self.first, event]))
        with atomic.writing(self.path), self.path.open("ab") as file:
            file.write(data)
        self.first = []


def _event(what: bytes, step: int = 0) -> bytes:
    return struct.pack("<Bd", 1 << 3 | 1, time.time()) + varint(2, step) + what


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


# Protobuf fields, see protobuf.dev/programming-guides/encoding: in front is the field's number and how it is stored.


def varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def single(field: int, value: float) -> bytes:
    return _number(field << 3 | 5) + struct.pack("<f", value)


def text(field: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _number(field << 3 | 2) + _number(len(data)) + data


def message(field: int, *fields: bytes) -> bytes:
    return text(field, b"".join(fields))


def _number(value: int) -> bytes:
    """Base 128, least significant digit first, the top bit set on all but the last."""
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The Castagnoli cyclic redundancy check (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_entry(value) for value in range(256)]
