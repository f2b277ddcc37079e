"""Event files, read back by hand: records whose checksums hold, and the numbers in them."""

import struct
from collections.abc import Iterator

from polzoo.recipes.events import Events, crc32c


def records(data: bytes) -> Iterator[bytes]:
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        check(data[:8], data[8:12])
        check(data[12 : 12 + length], data[12 + length : 16 + length])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def check(data: bytes, stored: bytes) -> None:
    """The mask of TensorFlow's record writer: rotate by 15 bits, add a constant."""
    rotated = (struct.unpack("<I", stored)[0] - 0xA282EAD8) % 2**32
    assert (rotated << 15 | rotated >> 17) % 2**32 == crc32c(data)


def fields(data: bytes) -> dict[int, list]:
    """A protobuf message: field number → its values, as far as wire types say."""

    def number() -> int:
        nonlocal data
        value, shift = 0, 0
        while True:
            byte, data = data[0], data[1:]
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    found: dict[int, list] = {}
    while data:
        tag = number()
        if tag & 7 == 0:
            value = number()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or number()
            raw, data = data[:size], data[size:]
            value = struct.unpack({1: "<d", 5: "<f"}[tag & 7], raw)[0] if tag & 7 in (1, 5) else raw
        found.setdefault(tag >> 3, []).append(value)
    return found


def test_the_checksum_is_castagnoli():
    """The check value of the catalogue, and RFC 3720's B.4 for 32 zeros."""
    assert crc32c(b"123456789") == 0xE3069283
    assert struct.pack("<I", crc32c(bytes(32))) == bytes.fromhex("aa36918a")


def test_scalars_and_pictures_stand_in_the_file(tmp_path):
    events = Events(tmp_path, start=200)
    events.scalars(300, {"loss/loss": 1.5, "lr/0": 1e-3})
    events.image(300, "pairs", b"\x89PNG" + bytes(300), 7, 9)
    (file,) = tmp_path.glob("events.out.tfevents.*")
    first, session, scalars, picture = map(fields, records(file.read_bytes()))
    assert first[3] == [b"brain.Event:2"]
    assert session[2] == [201] and fields(session[7][0])[1] == [1]
    assert scalars[2] == [300] and abs(scalars[1][0] - file.stat().st_mtime) < 60
    values = [fields(value) for value in fields(scalars[5][0])[1]]
    assert [(v[1][0], round(v[2][0], 6)) for v in values] == [(b"loss/loss", 1.5), (b"lr/0", 0.001)]
    (value,) = (fields(value) for value in fields(picture[5][0])[1])
    image = fields(value[4][0])
    assert (image[1], image[2], image[3], len(image[4][0])) == ([7], [9], [3], 304)


def test_no_file_before_the_first_event(tmp_path):
    Events(tmp_path, start=0)
    assert not list(tmp_path.iterdir())
