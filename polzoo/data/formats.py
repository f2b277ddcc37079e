"""Images, masks and disparities in files: what each format's numbers mean, checked, and written whole or not at all.

| file | disparity | no value |
|---|---|---|
| 16-bit PNG | v / 256 (KITTI), or v / scale | 0 |
| 8-bit PNG | v / scale, the scale must be given | 0 |
| PFM, NPY | v (/ scale) | infinite or NaN |
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data import pfm
from polzoo.data.files import PathLike, read_bytes, write_bytes
from polzoo.data.intact import flaw, header_size, png_kind
from polzoo.errors import PolzooError, one_line, unknown

MAX_PIXELS = 2**26
"""Larger pictures (67 megapixels) are refused before they are decoded."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".jp2", ".pfm", ".npy")
"""What a data folder is searched for; what a file is, is read from its content."""

KITTI = 256.0
"""Units per pixel of a 16-bit disparity PNG."""

SMALLEST, LARGEST, WILD = 1e-30, 1e6, 0.1
"""Where more than the share ``WILD`` of the float numbers lies beyond, their bytes were read in the wrong order: then
the exponent is what was the end of the mantissa, noise or 0."""

_NPY = b"\x93NUMPY"
_JPEG = b"\xff\xd8"
_COUNTS_ROWS = int(cv2.__version__.partition(".")[0]) >= 5  # OpenCV 4 fills rows that a PNG lacks and says nothing
_PALETTE = 3

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def read_image(path: PathLike) -> Floats:
    """An RGB picture, (H, W, 3) float32 in [0, 1]; 8- or 16-bit PNG, JPEG, TIFF, BMP, WebP, PPM, …

    Pixels come as they are stored: an orientation tag and colour profiles are not applied.

    Raises:
        PolzooError: missing, empty, damaged or cut off, no image, more than 67 megapixels, not three channels
            (grey, transparent and palette pictures are refused, not converted), or floating-point pixels.
    """
    return np.ascontiguousarray(read_view(path).transpose(1, 2, 0))


def read_view(path: PathLike, *, published: bool = False) -> Floats:
    """:func:`read_image` as a data set hands it out, (3, H, W).

    ``published``: of a data set that is as it is. Grey is repeated in all channels (ETH3D, KITTI 2012), and an alpha
    channel that is opaque everywhere is dropped (Scene Flow's samples).
    """
    pixels = _decode(read_bytes(path), path)
    if published and pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if published and pixels.ndim == 3 and pixels.shape[2] == 4 and (pixels[..., 3] == _top(pixels)).all():
        pixels = pixels[..., :3]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels != 3:
        what = {1: " (grey)", 2: " (grey, alpha)", 4: " (RGB, alpha)"}.get(channels, "")
        hint = "; a polarization camera's raw frame needs --mosaic" if channels == 1 else ""
        raise PolzooError(
            f"{path} has {channels} channel{'s' * (channels > 1)}{what}; a view must be RGB, 3 channels{hint}"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PolzooError(f"{path} has {pixels.dtype} pixels; a view must have 8 or 16 bit per channel")
    view = np.empty((3, *pixels.shape[:2]), np.float32)
    for plane, channel in zip(cv2.split(pixels), view[::-1], strict=True):  # OpenCV's order is blue, green, red
        np.divide(plane, _top(pixels), out=channel, dtype=np.float32)
    return view


def read_numbers(
    path: PathLike, what: str, *, channels: Sequence[int] = (1,), bits: Sequence[int] = (8, 16)
) -> NDArray:
    """The integers of a lossless picture as they are stored: (H, W), or (H, W, 3) in the order red, green, blue.

    Args:
        what: they are, for an error: "a disparity".
        channels, bits: that are allowed, bits per channel.

    Raises:
        PolzooError: as :func:`read_image`; other channels or bits, a palette, or a JPEG, whose numbers are altered.
    """
    return _numbers(read_bytes(path), path, what, channels, bits)


def read_mosaic(path: PathLike) -> NDArray:
    """A polarization camera's raw frame as it is stored: (H, W) uint8 or uint16. Raises PolzooError for others."""
    return read_numbers(path, "a raw mosaic")


def write_image(path: PathLike, picture: Picture) -> Path:
    """Write (H, W, 3) uint8 RGB as PNG, atomically."""
    return write_bytes(path, encode_image(picture))


def encode_image(picture: Picture) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG."""
    return _png(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def encode_mask(mask: Mask) -> bytes:
    """A (H, W) mask as the bytes of a one-channel PNG, 255 where True."""
    return _png(mask.astype(np.uint8) * np.uint8(255))


def read_mask(path: PathLike) -> Mask:
    """A mask, (H, W) bool, from a one-channel picture or an NPY.

    True where the picture has its full value (255, or 65535 with 16 bit), so that Middlebury's 128 ("occluded") is
    False; a picture of nothing but 0 and 1 is True where 1. An NPY holds bool, or numbers that are True unless 0.
    """
    data = read_bytes(path)
    if data.startswith(_NPY):
        values = _npy(data, path)
        return values != 0
    values = _numbers(data, path, "a mask", (1,), (1, 2, 4, 8, 16))
    return values == (1 if values.max() == 1 else _top(values))


def read_floats(path: PathLike) -> Floats:
    """The (H, W) float32 numbers of a PFM or an NPY file, top row first, whatever they mean.

    Raises:
        PolzooError: another or a damaged file, or numbers that look like bytes in the wrong order.
    """
    data = read_bytes(path)
    if not data.startswith((*pfm.MAGIC, _NPY)):
        raise PolzooError(f"{path} is neither a PFM nor an NPY file, which hold numbers (H, W)")
    return _floats(data, path)


def read_disparity(
    path: PathLike, scale: float | None = None, offset: float = 0.0, *, bits: Sequence[int] = (8, 16)
) -> tuple[Floats, Mask]:
    """(disparity (H, W) float32 in pixels, 0 where unknown; valid (H, W) bool): stored value / scale + offset.

    Args:
        scale: divides the stored value (KITTI 256, Middlebury 2003 at quarter size 4, a flow's sign −1). Default: 256
            for a 16-bit PNG, 1 for PFM and NPY; an 8-bit picture does not say and must be given one.
        offset: pixels to add (values cut to whole pixels: 0.5).
        bits: that a picture may have; a data set knows which.

    Raises:
        PolzooError: an unreadable file, more than one channel, other bits, no scale for 8 bit, or a scale of 0.
    """
    if scale == 0 or not math.isfinite(1.0 if scale is None else scale) or not math.isfinite(offset):
        raise PolzooError(f"a disparity's scale must be finite and not 0, its offset finite; not {scale} and {offset}")
    data = read_bytes(path)
    if data.startswith((*pfm.MAGIC, _NPY)):
        stored = _floats(data, path)
        valid, scale = np.isfinite(stored), scale or 1.0
        stored = np.where(valid, stored, np.float32(0))
    else:
        stored = _numbers(data, path, "a disparity", (1,), bits)
        if scale is None and stored.dtype == np.uint8:
            raise PolzooError(f"{path} is an 8-bit disparity and needs its scale (Middlebury 2003 at quarter size: 4)")
        valid, scale = stored > 0, scale or KITTI
    disparity = np.divide(stored, np.float32(scale), dtype=np.float32)
    return (disparity if offset == 0 else np.where(valid, disparity + np.float32(offset), np.float32(0))), valid


def write_disparity(path: PathLike, disparity: Floats, valid: Mask | None = None) -> Path:
    """Write (H, W) disparities in pixels as the suffix says, atomically. See :func:`encode_disparity`."""
    return write_bytes(path, encode_disparity(Path(path).suffix, disparity, valid))


def encode_disparity(suffix: str, disparity: Floats, valid: Mask | None = None) -> bytes:
    """The bytes of a disparity file.

    ``.pfm`` and ``.npy`` are exact; where not ``valid``, a PFM holds infinity and an NPY NaN. ``.png`` is KITTI's
    16-bit form, rounded to 1/256 pixel: what it cannot hold (:func:`fits_kitti`) becomes 0, "no value".

    Raises:
        PolzooError: another suffix, or not a (H, W) array.
    """
    disparity = np.asarray(disparity, dtype=np.float32)
    if disparity.ndim != 2 or disparity.size == 0 or (valid is not None and valid.shape != disparity.shape):
        sizes = f"{disparity.shape}" + ("" if valid is None else f" with a mask {valid.shape}")
        raise PolzooError(f"a disparity must be (H, W), its mask alike, not {sizes}")
    known = np.ones(disparity.shape, bool) if valid is None else valid.astype(bool)
    if suffix == ".pfm":
        return pfm.encode(np.where(known, disparity, np.float32(np.inf)))
    if suffix == ".npy":
        stream = io.BytesIO()
        np.save(stream, np.where(known, disparity, np.float32(np.nan)), allow_pickle=False)
        return stream.getvalue()
    if suffix == ".png":
        known = known & fits_kitti(disparity)
        units = np.rint(np.where(known, disparity, 0).astype(np.float64) * KITTI)
        return _png(np.where(known, np.maximum(units, 1), 0).astype(np.uint16))
    raise unknown("suffix of a disparity file", suffix, (".pfm", ".npy", ".png"))


def fits_kitti(disparity: Floats) -> Mask:
    """Where a 16-bit PNG can hold a disparity: finite and in [0, 255.998); less than 1/256 is written as 1/256."""
    with np.errstate(invalid="ignore"):
        return (disparity >= 0) & (disparity < 65535.5 / KITTI)


def _numbers(data: bytes, path: PathLike, what: str, channels: Sequence[int], bits: Sequence[int]) -> NDArray:
    count, depths = (" or ".join(map(str, allowed)) for allowed in (channels, bits))
    wanted = f"{what} must have {count} channel{'s' * (max(channels) > 1)} of {depths} bit"
    if data.startswith(_JPEG):
        raise PolzooError(f"{path} is a JPEG, which alters numbers; {wanted}, in a PNG")
    depth = (png_kind(data) or (8, 0))[0]
    pixels = _decode(data, path)
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    if found not in channels or pixels.dtype.kind != "u" or 8 * pixels.dtype.itemsize not in bits or depth < min(bits):
        stored = f"{depth} bit" if depth < 8 else str(pixels.dtype)
        raise PolzooError(f"{path} is {stored} {pixels.shape}; {wanted}")
    return pixels if found == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _decode(data: bytes, path: PathLike) -> NDArray:
    """Pixels as they are stored: (H, W) or (H, W, C) in OpenCV's order of channels, 8 or 16 bit or float."""
    _check_size(header_size(data) or _size_by_pillow(data, path), path)
    wrong = flaw(data, rows=not _COUNTS_ROWS)
    if wrong:
        raise PolzooError(f"{path} is {wrong}")
    if (png_kind(data) or (8, 0))[1] == _PALETTE:
        raise PolzooError(f"{path} is a palette picture (indexed colours); wanted are plain grey or RGB pixels")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise PolzooError(f"{path} is not an image that can be read, or is damaged (PNG, JPEG, TIFF, … can be)")
    _check_size(pixels.shape[:2], path)
    return pixels


def _size_by_pillow(data: bytes, path: PathLike) -> tuple[int, int] | None:
    """(height, width) that the header of another format claims; OpenCV makes room for it before it reads on."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return picture.height, picture.width
        except Image.DecompressionBombError as error:
            raise PolzooError(f"{path} is too large ({error}); at most {MAX_PIXELS:,} pixels are read") from error
        except Exception:  # whatever a broken header does to a parser; the decoder has the last word
            return None


def _check_size(size: tuple[int, ...] | None, path: PathLike) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise PolzooError(f"{path} is {size[1]}×{size[0]} pixels; at most {MAX_PIXELS:,} in all are read")


def _top(pixels: NDArray) -> np.float32:
    """What counts as 1."""
    return np.float32(np.iinfo(pixels.dtype).max)


def _floats(data: bytes, path: PathLike) -> Floats:
    values = pfm.decode(data, str(path)) if data.startswith(pfm.MAGIC) else _npy(data, path)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    size = np.abs(values[::4, ::4])  # the order is that of all or none
    numbers = np.count_nonzero((size > 0) & (size < np.inf))
    wild = np.count_nonzero((size > LARGEST) & (size < np.inf)) + np.count_nonzero((size > 0) & (size < SMALLEST))
    if wild > WILD * numbers:
        shown = f"{path} holds {wild} of {numbers} numbers beyond {SMALLEST:g} and {LARGEST:g}"
        raise PolzooError(f"{shown}: are its bytes in the other order than its header says?")
    return values


def _npy(data: bytes, path: PathLike) -> NDArray:
    """The (H, W) numbers of an NPY file; pickles are refused, as is a header that promises more than there is."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except Exception as error:  # the header is a Python literal: its parser fails in many ways
        raise PolzooError(f"{path} is a damaged NPY file: {one_line(error)}") from error
    if dtype.kind not in "fiub" or len(shape) != 2 or min(shape) < 1:
        raise PolzooError(f"{path} holds {dtype} {shape}; wanted are numbers (H, W)")
    _check_size(shape, path)
    size, found = shape[0] * shape[1] * dtype.itemsize, len(data) - stream.tell()
    if found != size:
        fault = "is cut off" if found < size else f"has {found - size:,} bytes too many"
        raise PolzooError(f"{path} {fault}: its header promises {shape} {dtype}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


def _png(pixels: NDArray) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise PolzooError(f"cannot encode {pixels.dtype} {pixels.shape} as PNG")
    return data.tobytes()
