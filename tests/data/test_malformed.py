"""Malformed files of every format, made by a seeded mutator: each is refused with one line that names the file and says
what was expected. Nothing crashes, nothing is misread in silence, and no header makes room for what is not there.

A changed byte in the numbers of a PFM, an NPY or a JPEG is not among them: these formats have no checksum.
"""

from __future__ import annotations

import io
import os
import resource
import runpy
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from polzoo.errors import PolzooError
from polzoo.spec import make_part
from polzoo.zoo import instantiate

ROOTS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "datasets" / "roots.py")))
ROOM = 400_000
"""kB of memory that all of it may take beyond what was taken before."""

Change = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Case:
    """One malformed file. ``said`` must be in the error, one of these words; ``place`` makes what is no file."""

    id: str
    data: str
    file: str
    said: tuple[str, ...]
    change: Change | None = None
    place: Callable[[Path], object] | None = None


# ── what becomes of the bytes ─────────────────────────────────────────────────────────────────────────────────────────


def cut(share: float) -> Change:
    return lambda data, _: data[: min(len(data) - 1, max(1, int(len(data) * share)))]


def less(count: int) -> Change:
    return lambda data, _: data[:-count]


def more(extra: bytes) -> Change:
    return lambda data, _: data + extra


def instead(new: bytes) -> Change:
    return lambda data, _: new


def start(new: bytes) -> Change:
    return lambda data, _: new + data[len(new) :]


def swap(old: bytes, new: bytes) -> Change:
    def change(data: bytes, _: np.random.Generator) -> bytes:
        assert old in data, old
        return data.replace(old, new, 1)

    return change


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """One changed byte behind the signature."""
    at = int(rng.integers(12, len(data) - 4))
    return data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]


def noise(data: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(len(data))


def png_header(**fields: int) -> Change:
    """Other fields in a PNG's header, with the right checksum."""

    def change(data: bytes, _: np.random.Generator) -> bytes:
        names = ("width", "height", "depth", "colour", "compression", "filter", "interlace")
        values = dict(zip(names, struct.unpack(">IIBBBBB", data[16:29]), strict=True)) | fields
        body = b"IHDR" + struct.pack(">IIBBBBB", *(values[name] for name in names))
        return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]

    return change


def png_stream(change: Callable[[bytes], bytes]) -> Change:
    """Other compressed pixels in a single chunk, with the right checksum."""

    def made(data: bytes, _: np.random.Generator) -> bytes:
        at, stream = 8, b""
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            stream += data[at + 8 : at + 8 + length] * (data[at + 4 : at + 8] == b"IDAT")
            at += 12 + length
        body = b"IDAT" + change(stream)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + b"\0\0\0\0IEND\xaeB`\x82"

    return made


def jpeg_size(height: int, width: int) -> Change:
    def change(data: bytes, _: np.random.Generator) -> bytes:
        at = data.index(b"\xff\xc0")
        return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]

    return change


def saved(make: Callable[[Image.Image], Image.Image], kind: str = "PNG", **options: object) -> Change:
    """The same picture as Pillow writes it in another form."""

    def change(data: bytes, _: np.random.Generator) -> bytes:
        stream = io.BytesIO()
        make(Image.open(io.BytesIO(data))).save(stream, kind, **options)
        return stream.getvalue()

    return change


def in_bits(kind: type, channels: int = 1) -> Change:
    """Ones in another type, of the same size."""

    def change(data: bytes, _: np.random.Generator) -> bytes:
        width, height = Image.open(io.BytesIO(data)).size
        stream = io.BytesIO()
        Image.fromarray(np.ones((height, width, channels)[: 2 + (channels > 1)], kind)).save(stream, "PNG")
        return stream.getvalue()

    return change


def npy(make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(data: bytes, _: np.random.Generator) -> bytes:
        stream = io.BytesIO()
        np.save(stream, make(np.load(io.BytesIO(data))), allow_pickle=True)
        return stream.getvalue()

    return change


def with_number(value: float, order: str = "<") -> Change:
    """The last number of a PFM or NPY."""
    return lambda data, _: data[:-4] + struct.pack(f"{order}f", value)


def transparent(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putpixel((3, 3), (1, 2, 3, 100))
    return image


def mended_text(data: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(40) + b"\xff\xfe" + data


# ── kinds by format ───────────────────────────────────────────────────────────────────────────────────────────────────

Kinds = dict[str, tuple[tuple[str, ...], Change]]

BROKEN = (
    "cut off",
    "damaged",
    "incomplete",
    "not an image",
    "neither",
    "empty",
    "no whole line",
    "not valid",
    "no PFM",
)
CUT_PNG: Kinds = {
    **{f"cut at {share}": (BROKEN, cut(share)) for share in (0.001, 0.02, 0.2, 0.5, 0.8, 0.99)},
    **{f"without its last {count} bytes": (BROKEN, less(count)) for count in (1, 4, 11, 12, 13, 16)},
    **{f"a flipped byte, {i}": ((*BROKEN, "pixels"), flip) for i in range(4)},
    "wrong signature": (BROKEN, start(b"\x89PNX")),
    "noise": (BROKEN, noise),
    "text": (BROKEN, instead(b"this is no picture\n")),
    "no header chunk": (BROKEN, lambda data, _: data[:8] + data[33:]),
    "a huge width": (("at most",), png_header(width=2**31 - 1)),
    "a huge size": (("at most",), png_header(width=100_000, height=100_000)),
    "a negative width": (("at most",), png_header(width=2**32 - 450)),
    "a width of 0": (BROKEN, png_header(width=0)),
    "too many rows": (BROKEN, png_header(height=25)),
    "an unknown colour type": (BROKEN, png_header(colour=5)),
    "an unknown depth": (BROKEN, png_header(depth=3)),
    "half the pixels": (
        BROKEN,
        png_stream(lambda s: zlib.compress(zlib.decompress(s)[: len(zlib.decompress(s)) // 2])),
    ),
    "a stream that stops": (BROKEN, png_stream(lambda s: s[: len(s) // 2])),
    "a stream of noise": (BROKEN, png_stream(lambda s: s[:2] + bytes(range(256)))),
    "a wrong sum of the pixels": (BROKEN, png_stream(lambda s: s[:-1] + bytes([s[-1] ^ 1]))),
}
OTHER_SIZE: Kinds = {
    "a row too many": (("pixels",), saved(lambda i: i.resize((i.width, i.height + 1)))),
    "a column too few": (("pixels",), saved(lambda i: i.crop((0, 0, i.width - 1, i.height)))),
}
GREY: Kinds = {
    "RGB": (("1 channel",), in_bits(np.uint8, 3)),
    "RGBA": (("1 channel",), in_bits(np.uint8, 4)),
    "a palette": (("palette",), saved(lambda i: i.convert("L").convert("P"))),
    "a JPEG": (("alters",), saved(lambda i: i.convert("L"), "JPEG")),
    "one bit": (("channel", "bit"), saved(lambda i: i.convert("1"))),
    **OTHER_SIZE,
}
SIXTEEN: Kinds = {**CUT_PNG, **GREY, "8 bit": (("16 bit",), in_bits(np.uint8))}
EIGHT: Kinds = {**CUT_PNG, **GREY, "16 bit": (("8 bit",), in_bits(np.uint16))}
PACKED: Kinds = {
    **CUT_PNG,
    **OTHER_SIZE,
    "grey": (("3 channels",), in_bits(np.uint8)),
    "16 bit grey": (("3 channels",), in_bits(np.uint16)),
    "RGBA": (("3 channels",), saved(lambda i: i.convert("RGBA"))),
    "a palette": (("palette",), saved(lambda i: i.convert("P"))),
    "a JPEG": (("alters",), saved(lambda i: i, "JPEG")),
}
MASK: Kinds = {kind: how for kind, how in EIGHT.items() if kind != "one bit"}
VIEW: Kinds = {
    **CUT_PNG,
    "transparent": (("4 channels",), saved(transparent)),
    "transparent grey": (("channel",), saved(lambda i: transparent(i).convert("LA"))),
    "a palette": (("palette",), saved(lambda i: i.convert("P"))),
    "a row too many": (("pixels",), saved(lambda i: i.resize((i.width, i.height + 1)))),
}
JPEG: Kinds = {
    **{f"cut at {share}": (BROKEN, cut(share)) for share in (0.001, 0.05, 0.3, 0.6, 0.9)},
    "without its end": (BROKEN, less(2)),
    "wrong signature": (BROKEN, start(b"\xff\xd9")),
    "noise": (BROKEN, noise),
    "a huge size": (("at most",), jpeg_size(65535, 65535)),
    "no rows": (BROKEN, jpeg_size(0, 450)),
    "a row too many": (("pixels",), saved(lambda i: i.resize((i.width, i.height + 1)), "JPEG")),
    "text": (BROKEN, instead(b"GIF89a but not really")),
}
NUMBERS: Kinds = {
    **{f"cut at {share}": (("PFM", "NPY", "cut off", "bytes"), cut(share)) for share in (0.0001, 0.001, 0.4, 0.9)},
    "a byte too few": (("bytes", "cut off"), less(1)),
    "a number too many": (("bytes",), more(b"\0\0\0\0")),
    "noise": (("PFM", "NPY"), noise),
    "a PNG": (("PFM", "NPY"), instead(b"\x89PNG\r\n\x1a\n" + bytes(99))),
}
PFM: Kinds = {
    **NUMBERS,
    "NaN": (("NaN",), with_number(np.nan)),
    "minus infinity": (("above 0",), with_number(-np.inf)),
    "a negative number": (("above 0",), with_number(-3.0)),
    "wrong signature": (("PFM",), start(b"PX")),
    "colours": (("3 channels",), start(b"PF")),
    "the other byte order": (("order",), swap(b"\n-1.0\n", b"\n1.0\n")),
    "a negative width": (("PFM",), swap(b"450 24", b"-450 24")),
    "a huge size": (("bytes",), swap(b"450 24", b"999999999 999999999")),
    "a width of 0": (("bytes",), swap(b"450 24", b"0 24")),
    "an endless width": (("PFM",), swap(b"450 24", b"4" * 150 + b" 24")),
    "no scale": (("PFM",), swap(b"-1.0\n", b"\n")),
    "a scale of 0": (("scale",), swap(b"-1.0", b"0.0")),
    "a scale of words": (("PFM",), swap(b"-1.0", b"none")),
    "an infinite scale": (("scale",), swap(b"-1.0", b"-1e999")),
    "other numbers in its size": (("pixels",), swap(b"450 24", b"225 48")),
}
NPY: Kinds = {
    **NUMBERS,
    "NaN": (("NaN",), with_number(np.nan)),
    "a negative depth": (("below 0",), with_number(-3.0)),
    "the other byte order": (("order",), swap(b"'<f4'", b"'>f4'")),
    "objects": (("object",), npy(lambda a: a.astype(object))),
    "complex numbers": (("complex",), npy(lambda a: a.astype(complex))),
    "texts": (("wanted are numbers",), npy(lambda a: a.astype(str))),
    "records": (("wanted are numbers",), npy(lambda a: a.view([("a", "<f4")]))),
    "three dimensions": (("(H, W)",), npy(lambda a: a[None])),
    "one dimension": (("(H, W)",), npy(lambda a: a[0])),
    "no rows": (("(H, W)",), npy(lambda a: a[:0])),
    "another size": (("pixels",), npy(lambda a: a[:-1])),
    "version 9": (("damaged NPY",), start(b"\x93NUMPY\x09\x00")),
    "a huge shape": (("at most",), swap(b"(24, 450), }", b"(99999, 99999), }")),
    "a negative shape": (("(H, W)",), swap(b"(24, 450), }", b"(-24, 450), }")),
    "a header that is no literal": (("damaged NPY",), swap(b"'descr'", b"__import")),
    "a header without end": (("damaged NPY",), lambda data, _: data[:8] + b"\xff\xff" + data[10:]),
}
TEXT: Kinds = {
    "noise": (("text", "no whole line", "says", "say"), mended_text),
    "nothing in it": (("line", "say"), instead(b"\n")),
}
CALIB: Kinds = {
    **TEXT,
    **{f"cut at {share}": (("line", "cam0"), cut(share)) for share in (0.02, 0.2, 0.4, 0.6)},
    "in words": (("baseline",), swap(b"baseline=193.001", b"baseline=wide")),
    "NaN": (("doffs",), swap(b"doffs=32.778", b"doffs=nan")),
    "a negative baseline": (("above 0",), swap(b"baseline=193.001", b"baseline=-193.001")),
    "a focal length of 0": (("above 0",), swap(b"cam0=[999.421", b"cam0=[0")),
    "two rows": (("cam0",), swap(b"; 0 0 1]", b"]")),
    "huge": (("at most",), more(b"# \n" * 400_000)),
}
KITTI_CALIB: Kinds = {
    **TEXT,
    **{f"cut at {share}": (("line",), cut(share)) for share in (0.05, 0.5, 0.95)},
    "eleven numbers": (("12 numbers",), swap(b" 0.2163791", b"")),
    "in words": (("numbers",), swap(b"44.85728", b"forty")),
    "swapped cameras": (
        ("above 0",),
        swap(b"P_rect_02: 721.5377 0 609.5593 44.85728", b"P_rect_02: 721.5377 0 609.5593 -999"),
    ),
}
JSON: Kinds = {
    **TEXT,
    **{f"cut at {share}": (("say",), cut(share)) for share in (0.1, 0.5, 0.9)},
    "a list": (("say",), instead(b"[]")),
    "deeply nested": (("say",), instead(b"[" * 100_000)),
    "infinite": (("say",), swap(b"768.1605834960938", b"Infinity")),
    "negative": (("say",), swap(b'"fx": 768', b'"fx": -768')),
    "no focal length": (("say",), swap(b'"fx"', b'"gx"')),
}
CSV: Kinds = {
    "noise": (("CSV", "column"), mended_text),
    "UTF-16": (("UTF-8", "column"), lambda data, _: data.decode().encode("utf-16")),
    "cut in a row": (("row 2", "cells"), lambda data, _: data[: data.index(b"\n") + 6]),
    "a NUL": (("NUL",), swap(b"l.png", b"l\0.png")),
    "an open quote": (("CSV",), swap(b"l.png", b'"l.png')),
    "too few cells": (("cells",), swap(b",r.png", b"")),
    "an unknown column": (("did you mean 'disparity'",), swap(b"disparity", b"disparty")),
    "a scale of 0": (("other than 0",), swap(b",1,", b",0,")),
    "a scale in words": (("must be a number",), swap(b",1,", b",one,")),
    "a folder for a file": (("folder",), swap(b"l.png", b".")),
    "header alone": (("lists no pair",), lambda data, _: data[: data.index(b"\n")]),
}
TOML: Kinds = {
    "noise": (("TOML",), mended_text),
    **{f"cut at {share}": (("TOML", "names no", "no such", "folder"), cut(share)) for share in (0.1, 0.3, 0.5, 0.9)},
    "an unknown key": (("did you mean 'disparity'",), swap(b"disparity", b"disparty")),
    "an array": (("text or a number",), swap(b'"l.png"', b'["l.png"]')),
    "a date": (("text or a number",), swap(b'"l.png"', b"2020-01-01")),
    "a key twice": (("TOML",), swap(b"right", b"left")),
    "a table": (("[[pair]]",), swap(b"[[pair]]", b"[pair]")),
    "an infinite scale": (("scale",), swap(b"scale = 1", b"scale = inf")),
    "deeply nested": (("TOML",), instead(b"a = " + b"[" * 5000)),
}
OTHERS: dict[str, Kinds] = {
    suffix: {
        **{f"cut at {share}": ((*BROKEN, "size"), cut(share)) for share in (0.01, 0.5)},
        "noise": (BROKEN, noise),
    }
    for suffix in ("tif", "bmp", "webp", "ppm")
}
BOMBS: dict[str, bytes] = {
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(45),
    "ppm": b"P6\n30000 30000\n255\n" + bytes(99),
}

FILES: dict[tuple[str, str], Kinds] = {
    ("kitti15", "training/disp_occ_0/000000_10.png"): SIXTEEN,
    ("kitti15", "training/disp_noc_0/000000_10.png"): SIXTEEN,
    ("kitti15", "training/obj_map/000000_10.png"): EIGHT,
    ("kitti15", "training/image_3/000000_10.png"): VIEW,
    ("kitti15", "training/calib_cam_to_cam/000000.txt"): KITTI_CALIB,
    ("middlebury", "MiddEval3/trainingQ/Adirondack/disp0GT.pfm"): PFM,
    ("middlebury", "MiddEval3/trainingQ/Adirondack/mask0nocc.png"): EIGHT,
    ("middlebury", "MiddEval3/trainingQ/Adirondack/calib.txt"): CALIB,
    ("sintel", "training/disparities/alley_1/frame_0001.png"): PACKED,
    ("sintel", "training/occlusions/alley_1/frame_0001.png"): MASK,
    ("fsd", "manipulation_v5_realistic_kitchen_2500_1/dataset/data/left/disparity/0000.png"): PACKED,
    ("fsd", "manipulation_v5_realistic_kitchen_2500_1/dataset/data/right/rgb/0000.jpg"): JPEG,
    ("fallingthings", "mixed/kitedemo_0/000000.left.depth.png"): SIXTEEN,
    ("fallingthings", "mixed/kitedemo_0/_camera_settings.json"): JSON,
    ("tartanair", "ocean/ocean/Hard/P001/depth_left/000000_left_depth.npy"): NPY,
    ("folder", "pairs.csv"): CSV,
    ("folder", "pairs.toml"): TOML,
    **{("folder", f"views.{suffix}"): kinds for suffix, kinds in OTHERS.items()},
}
OPTIONAL = ("disp_noc_0", "obj_map", "calib_cam_to_cam")
"""Folders of files that a set may lack: missing is then no fault, though everything else is."""

OPTIONS = {"fallingthings": {"scenes": "mixed"}, "tartanair": {"level": "hard"}}

PLACES: dict[str, tuple[tuple[str, ...], Callable[[Path], object]]] = {
    "missing": (("no such file",), lambda path: None),
    "empty": (("is empty",), lambda path: path.touch()),
    "a folder": (("is a folder", "no such file"), lambda path: path.mkdir()),
    "a link to itself": (("symbolic links", "no such file"), lambda path: os.symlink(path, path)),
    "a loop of links": (("symbolic links", "no such file"), lambda path: _loop(path)),
    "a link to nothing": (("no such file",), lambda path: os.symlink(path.parent / "nothing", path)),
    "a pipe": (("regular file", "no such file"), lambda path: os.mkfifo(path)),
}


def _loop(path: Path) -> None:
    other = path.with_name("other")
    os.symlink(other, path)
    os.symlink(path, other)


def cases() -> list[Case]:
    found = []
    for (data, file), kinds in FILES.items():
        name = f"{data}: {file}"
        found += [Case(f"{name}, {kind}", data, file, *how) for kind, how in kinds.items()]
        for kind, (said, how) in PLACES.items():
            if data != "folder" and not (kind == "missing" and Path(file).parent.name in OPTIONAL):
                found.append(Case(f"{name}, {kind}", data, file, said, place=how))
    found += [
        Case(f"a bomb in {suffix}", "folder", f"views.{suffix}", ("at most",), instead(bomb))
        for suffix, bomb in BOMBS.items()
    ]
    return found


CASES = cases()


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """A tiny root of every data set in ``FILES``, and a folder of one's own."""
    made = {}
    for name in {data for data, _ in FILES}:
        made[name] = tmp_path_factory.mktemp(name)
        if name != "folder":
            getattr(ROOTS, name)(made[name])
            continue
        for side, picture in (("l", ROOTS.LEFT), ("r", ROOTS.RIGHT)):
            Image.fromarray(picture).save(made[name] / f"{side}.png")
        for suffix in OTHERS:
            Image.fromarray(ROOTS.LEFT).save(made[name] / f"views.{suffix}")
        np.save(made[name] / "d.npy", ROOTS.EIGHT)
        (made[name] / "pairs.csv").write_text("left,right,scale,disparity\nl.png,r.png,1,d.npy\n")
        (made[name] / "pairs.toml").write_text(
            '[[pair]]\nscale = 1\nleft = "l.png"\nright = "r.png"\ndisparity = "d.npy"\n'
        )
    return made


def read(name: str, root: Path, file: str):
    if name != "folder":
        data = instantiate("dataset", make_part("dataset", name, {"root": str(root), **OPTIONS.get(name, {})}))
    elif file.startswith("pairs"):
        data = instantiate("dataset", make_part("dataset", "folder", {"path": str(root / file)}))
    else:
        (root / "views.csv").write_text(f"left,right\nl.png,{file}\n")
        data = instantiate("dataset", make_part("dataset", "folder", {"path": str(root / "views.csv")}))
    return data[0]


@pytest.fixture
def spoilt(request, roots) -> Iterator[tuple[Case, Path]]:
    """A case and its root with the file spoilt; afterwards it is as it was."""
    case: Case = request.param
    path = roots[case.data] / case.file
    kept = path.read_bytes()
    if case.change is not None:
        made = case.change(kept, np.random.default_rng(zlib.crc32(case.id.encode())))
        assert made != kept
        path.write_bytes(made)
    else:
        assert case.place is not None
        path.unlink()
        case.place(path)
    yield case, roots[case.data]
    for left in (path, path.with_name("other")):
        left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
    path.write_bytes(kept)


def peak() -> int:
    """kB of memory that this process has ever taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("spoilt", CASES, ids=lambda case: case.id, indirect=True)
def test_refused_with_a_line_that_names_the_file(spoilt) -> None:
    case, root = spoilt
    before = peak()
    with pytest.raises(PolzooError) as error:
        read(case.data, root, case.file)
    text = str(error.value)
    assert "\n" not in text and Path(case.file).name in text, text
    assert any(word in text for word in case.said), f"{text!r} says none of {case.said}"
    assert peak() - before < ROOM


@pytest.mark.parametrize(("data", "file"), FILES, ids=str)
def test_unspoilt_they_are_read(roots, data, file) -> None:
    assert read(data, roots[data], file).left.shape == ROOTS.LEFT.transpose(2, 0, 1).shape


def test_there_are_enough() -> None:
    assert len(CASES) >= 200 and len({case.id for case in CASES}) == len(CASES)
