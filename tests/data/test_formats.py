"""Files as other programs write them, round trips, and every kind of broken file: one line, nothing half-written."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from polzoo.data import files, formats, pfm
from polzoo.data.formats import (
    encode_disparity,
    encode_mask,
    fits_kitti,
    read_disparity,
    read_image,
    read_mask,
    write_disparity,
    write_image,
)
from polzoo.data.intact import flaw
from polzoo.errors import PolzooError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def refused(path, *words: str, read=read_image) -> None:
    with pytest.raises(PolzooError) as error:
        read(path)
    text = str(error.value)
    assert "\n" not in text
    for word in (str(path.name), *words):
        assert word in text, text


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hand_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".ppm"])
def test_lossless_pictures_written_by_pillow(tmp_path, picture, suffix) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture).save(path, lossless=True)
    found = read_image(path)
    assert found.dtype == np.float32 and found.shape == picture.shape
    np.testing.assert_array_equal(np.rint(found * 255), picture)


def test_jpeg_keeps_the_order_of_channels(tmp_path) -> None:
    Image.new("RGB", (32, 32), (200, 100, 20)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").mean((0, 1)) * 255, (200, 100, 20), atol=3)


def test_16_bit_png_keeps_all_bits(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    np.testing.assert_array_equal(np.rint(read_image(tmp_path / "a.png") * 65535), values)


def test_png_by_hand(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(hand_png(2, 1, 8, 2, b"\x00" + bytes([255, 0, 0, 0, 51, 255])))
    np.testing.assert_allclose(read_image(path), [[[1, 0, 0], [0, 0.2, 1]]], atol=1e-7)
    path.write_bytes(hand_png(1, 1, 16, 2, b"\x00" + struct.pack(">HHH", 65535, 1, 256)))
    np.testing.assert_allclose(read_image(path)[0, 0] * 65535, (65535, 1, 256), rtol=1e-6)


def test_written_pictures_are_read_back_and_written_whole(tmp_path, picture, monkeypatch) -> None:
    path = write_image(tmp_path / "new" / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(PolzooError, match="No space left"):
        write_image(path, picture[::-1])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert os.listdir(path.parent) == ["a.png"]


def test_several_files_are_written_or_none(tmp_path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(PolzooError, match="folder"):
        files.write_all({tmp_path / "a": b"1", tmp_path / "taken": b"2"})
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(PolzooError, match="file"):
        files.write_all({tmp_path / "a": b"1", tmp_path / "file" / "b": b"2"})
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [("L", "1 channel (grey)"), ("RGBA", "alpha"), ("LA", "alpha"), ("I;16", "1 channel"), ("1", "grey")],
)
def test_other_channels_are_refused(tmp_path, mode, words) -> None:
    Image.new(mode, (20, 20)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", words, "RGB, 3 channels")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".ppm"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_cut_files_are_refused(tmp_path, picture, suffix, share, capfd) -> None:
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(picture).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: max(2, int(len(data) * share))])
    refused(path)
    assert capfd.readouterr().err == ""


def test_a_progressive_jpeg_with_a_thumbnail_is_refused_when_cut(tmp_path, picture) -> None:
    path, small = tmp_path / "a.jpg", io.BytesIO()
    Image.fromarray(picture).save(small, "JPEG")
    Image.fromarray(picture).save(path, progressive=True, exif=b"Exif\0\0" + small.getvalue())
    assert read_image(path).shape == picture.shape
    path.write_bytes(path.read_bytes()[:-2])
    refused(path, "cut off")


@pytest.mark.parametrize("where", ["pixels", "checksum", "missing rows", "no end"])
def test_damaged_png(tmp_path, picture, where, capfd) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    data = bytearray(path.read_bytes())
    if where == "pixels":
        data[len(data) // 2] ^= 0xFF
    elif where == "checksum":
        data[-14] ^= 1
    elif where == "missing rows":
        data = hand_png(2, 2, 8, 2, b"\x00" * 7)
    else:
        data = data[:-12]
    path.write_bytes(bytes(data))
    refused(path)
    said = capfd.readouterr().err
    assert said == "" or (where == "missing rows" and said.startswith("libpng"))  # its checksums are right


def test_rows_that_were_never_written_are_counted_where_the_decoder_does_not(picture) -> None:
    whole, short = hand_png(2, 2, 8, 2, b"\x00" * 14), hand_png(2, 2, 8, 2, b"\x00" * 7)
    assert flaw(whole) is None
    assert flaw(short) == "incomplete (pixels are missing)" and flaw(short, rows=False) is None


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"Pf\n", b"\x93NUMPY\x01\x00", b"BM", b"II*\0"]),
)
@settings(max_examples=150)
def test_no_bytes_give_anything_but_one_line(tmp_path_factory, data, magic) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.png"
    path.write_bytes(magic + data)
    for read in (read_image, read_disparity, read_mask):
        try:
            read(path)
        except PolzooError as error:
            assert "\n" not in str(error)


def test_what_is_no_picture(tmp_path, picture) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    refused(tmp_path / "empty.png", "empty")
    refused(tmp_path / "text.png", "not an image")
    refused(tmp_path, "folder")
    write_image(tmp_path / "left.png", picture)
    refused(tmp_path / "lfet.png", "no such file", "did you mean 'left.png'?")
    refused(tmp_path / "none" / "a.png", "there is no folder")
    refused(tmp_path / "left.png" / "a.png", "no such file")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "regular")
    with pytest.raises(PolzooError):
        read_image("a\0b")


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, picture, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(hand_png(100_000, 100_000, 8, 2, b"\x00"))
    refused(path, "100000×100000", "at most")
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    Image.fromarray(picture).save(tmp_path / "a.bmp")
    monkeypatch.setattr(formats, "MAX_PIXELS", 100)
    refused(tmp_path / "a.jpg", "56×40")
    refused(tmp_path / "a.bmp", "56×40")


def test_floating_point_pictures_are_refused(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), np.ones((9, 9, 3), np.float32))
    refused(tmp_path / "a.tiff", "float32", "8 or 16 bit")


# ── disparities and masks ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("scale", "order"), [("-1.0", "<"), ("1.0", ">"), ("-0.003922", "<"), ("2.5", ">")])
def test_pfm_by_hand(tmp_path, scale, order) -> None:
    """Bottom row first; the sign of the scale is the byte order, its size is ignored."""
    path = tmp_path / "d.pfm"
    path.write_bytes(f"Pf\n3 2\n{scale}\n".encode() + struct.pack(f"{order}6f", 4, 5, np.inf, 1, 2, 3))
    disparity, valid = read_disparity(path)
    np.testing.assert_array_equal(disparity, [[1, 2, 3], [4, 5, 0]])
    np.testing.assert_array_equal(valid, [[True] * 3, [True, True, False]])
    assert disparity.dtype == np.float32


def test_opencv_reads_our_pfm(tmp_path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = write_disparity(tmp_path / "d.pfm", values)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), values)


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32)))
def test_pfm_round_trip(values) -> None:
    np.testing.assert_array_equal(pfm.decode(pfm.encode(values)), values)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"Pf\n3 2\n-1\n" + b"\0" * 23, "23"),
        (b"Pf\n3 2\n-1\n" + b"\0" * 25, "25"),
        (b"PF\n1 1\n-1\n" + b"\0" * 12, "3 channels"),
        (b"Pf\n1 1\n0\n" + b"\0" * 4, "scale"),
        (b"Pf\n1 1\n-1e999\n" + b"\0" * 4, "scale"),
        (b"Pf\n0 1\n-1\n", "0×1"),
        (b"Pf\nx y\n-1\n", "not a PFM"),
    ],
)
def test_bad_pfm(tmp_path, data, word) -> None:
    (tmp_path / "d.pfm").write_bytes(data)
    refused(tmp_path / "d.pfm", word, read=read_disparity)


def test_kitti_png_by_hand(tmp_path) -> None:
    path = tmp_path / "d.png"
    path.write_bytes(hand_png(3, 1, 16, 0, b"\x00" + struct.pack(">HHH", 0, 256, 65535)))
    disparity, valid = read_disparity(path)
    np.testing.assert_array_equal(disparity, [[0, 1, 65535 / 256]])
    np.testing.assert_array_equal(valid, [[False, True, True]])
    np.testing.assert_array_equal(read_disparity(path, scale=32)[0], [[0, 8, 65535 / 32]])


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 255, width=32)))
def test_kitti_round_trip(tmp_path_factory, values) -> None:
    path = write_disparity(tmp_path_factory.getbasetemp() / "k.png", values)
    found, valid = read_disparity(path)
    assert valid.all()
    np.testing.assert_allclose(found, np.maximum(values, 1 / 256), atol=1 / 512)


def test_what_a_kitti_png_cannot_hold_is_marked_invalid(tmp_path) -> None:
    values = np.array([[0, 1e-4, 255.99, 256, 1e9, -0.1, np.nan, np.inf, 7]], np.float32)
    valid = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0]], bool)
    found, known = read_disparity(write_disparity(tmp_path / "d.png", values, valid))
    np.testing.assert_array_equal(known, [[1, 1, 1, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(fits_kitti(values)[0, :8], known[0, :8])
    np.testing.assert_allclose(found[known], [1 / 256, 1 / 256, 255.99], atol=1 / 512)


@pytest.mark.parametrize("suffix", [".pfm", ".npy"])
@given(values=hnp.arrays(np.float32, SHAPES, elements=st.integers(-(2**19), 2**19).map(lambda i: i / 64)))
@settings(max_examples=30)
def test_exact_round_trip(tmp_path_factory, suffix, values) -> None:
    valid = np.indices(values.shape).sum(0) % 3 > 0
    path = write_disparity(tmp_path_factory.getbasetemp() / f"e{suffix}", values, valid)
    found, known = read_disparity(path)
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(found, np.where(valid, values, 0))


def test_eight_bit_needs_a_scale_and_takes_an_offset(tmp_path) -> None:
    Image.fromarray(np.array([[0, 8, 255]], np.uint8)).save(tmp_path / "d.png")
    refused(tmp_path / "d.png", "scale", read=read_disparity)
    disparity, valid = read_disparity(tmp_path / "d.png", scale=4, offset=0.5)
    np.testing.assert_array_equal(disparity, [[0, 2.5, 64.25]])
    np.testing.assert_array_equal(valid, [[False, True, True]])
    for scale, offset in ((0, 0), (np.nan, 0), (np.inf, 0), (1, np.nan)):
        with pytest.raises(PolzooError, match="scale"):
            read_disparity(tmp_path / "d.png", scale, offset)


def test_a_flow_is_turned_round_by_its_scale(tmp_path) -> None:
    np.save(tmp_path / "d.npy", np.array([[-3.0, np.nan]]))
    np.testing.assert_array_equal(read_disparity(tmp_path / "d.npy", scale=-1)[0], [[3, 0]])


def test_bad_npy(tmp_path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, np.array([[object()]]), allow_pickle=True)
    refused(path, "object", read=read_disparity)
    np.save(path, np.zeros((2, 3, 4)))
    refused(path, "(H, W)", read=read_disparity)
    np.save(path, np.zeros((20, 30)))
    path.write_bytes(path.read_bytes()[:-9])
    refused(path, "cut off", read=read_disparity)


def test_colour_is_no_disparity(tmp_path, picture) -> None:
    write_image(tmp_path / "d.png", picture)
    refused(tmp_path / "d.png", "1 channel", read=read_disparity)
    refused(tmp_path / "d.png", "1 channel", read=read_mask)


def test_masks(tmp_path) -> None:
    def stored(values, dtype: type = np.uint8) -> list:
        Image.fromarray(np.array([values], dtype)).save(tmp_path / "m.png")
        return read_mask(tmp_path / "m.png")[0].tolist()

    assert stored([0, 128, 255]) == [False, False, True]
    assert stored([0, 1, 1]) == [False, True, True]
    assert stored([0, 0, 0]) == [False] * 3
    assert stored([0, 255, 65535], np.uint16) == [False, False, True]
    np.save(tmp_path / "m.npy", np.array([[True, False]]))
    assert read_mask(tmp_path / "m.npy").tolist() == [[True, False]]
    (tmp_path / "n.png").write_bytes(encode_mask(np.array([[True, False]])))
    assert read_mask(tmp_path / "n.png").tolist() == [[True, False]]


def test_bad_arguments_to_the_writer() -> None:
    with pytest.raises(PolzooError, match=r"did you mean '.pfm'"):
        encode_disparity(".pmf", np.zeros((2, 2), np.float32))
    with pytest.raises(PolzooError, match="H, W"):
        encode_disparity(".pfm", np.zeros((1, 2, 2), np.float32))
    with pytest.raises(PolzooError, match="H, W"):
        encode_disparity(".pfm", np.zeros((2, 2), np.float32), np.ones((3, 2), bool))
