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
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data import pfm
from polzoo.data.files import PathLike, read_bytes, write_bytes
from polzoo.data.intact import flaw, header_size
from polzoo.errors import PolzooError, unknown

MAX_PIXELS = 2**26
"""Larger pictures (67 megapixels) are refused before they are decoded."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".jp2", ".pfm", ".npy")
"""What a data folder is searched for; what a file is, is read from its content."""

KITTI = 256.0
"""Units per pixel of a 16-bit disparity PNG."""

_NPY = b"\x93NUMPY"

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def read_image(path: PathLike) -> Floats:
    """An RGB picture, (H, W, 3) float32 in [0, 1]; 8- or 16-bit PNG, JPEG, TIFF, BMP, WebP, PPM, …

    Pixels come as they are stored: an orientation tag and colour profiles are not applied.

    Raises:
        PolzooError: missing, empty, damaged or cut off, no image, more than 67 megapixels, not three channels
            (grey and transparent pictures are refused, not converted), or floating-point pixels.
    """
    pixels = _decode(read_bytes(path), path)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels != 3:
        what = {1: " (grey)", 2: " (grey, alpha)", 4: " (RGB, alpha)"}.get(channels, "")
        hint = "; a polarization camera's raw frame needs --mosaic" if channels == 1 else ""
        raise PolzooError(
            f"{path} has {channels} channel{'s' * (channels > 1)}{what}; a view must be RGB, 3 channels{hint}"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PolzooError(f"{path} has {pixels.dtype} pixels; a view must have 8 or 16 bit per channel")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def read_mosaic(path: PathLike) -> NDArray:
    """A polarization camera's raw frame as it is stored: (H, W) uint8 or uint16. Raises PolzooError for others."""
    pixels = _decode(read_bytes(path), path)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise PolzooError(f"{path} is {pixels.dtype} {pixels.shape}; a raw mosaic must have 1 channel of 8 or 16 bit")
    return pixels


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
    values = _decode(data, path)
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise PolzooError(f"{path} is {values.dtype} {values.shape}; a mask must have 1 channel of 8 or 16 bit")
    return values == (1 if values.max() == 1 else np.iinfo(values.dtype).max)


def read_disparity(path: PathLike, scale: float | None = None, offset: float = 0.0) -> tuple[Floats, Mask]:
    """(disparity (H, W) float32 in pixels, 0 where unknown; valid (H, W) bool): stored value / scale + offset.

    Args:
        scale: divides the stored value (KITTI 256, Middlebury 2003 at quarter size 4, a flow's sign −1). Default: 256
            for a 16-bit PNG, 1 for PFM and NPY; an 8-bit picture does not say and must be given one.
        offset: pixels to add (values cut to whole pixels: 0.5).

    Raises:
        PolzooError: an unreadable file, more than one channel, no scale for 8 bit, or a scale of 0.
    """
    if scale == 0 or not math.isfinite(1.0 if scale is None else scale) or not math.isfinite(offset):
        raise PolzooError(f"a disparity's scale must be finite and not 0, its offset finite; not {scale} and {offset}")
    data = read_bytes(path)
    if data.startswith((*pfm.MAGIC, _NPY)):
        stored = pfm.decode(data, str(path)) if data.startswith(pfm.MAGIC) else _npy(data, path).astype(np.float32)
        valid, scale = np.isfinite(stored), scale or 1.0
    else:
        stored = _decode(data, path)
        if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
            raise PolzooError(
                f"{path} is {stored.dtype} {stored.shape}; a disparity must have 1 channel of 8 or 16 bit"
            )
        if scale is None and stored.dtype == np.uint8:
            raise PolzooError(f"{path} is an 8-bit disparity and needs its scale (Middlebury 2003 at quarter size: 4)")
        valid, scale = stored > 0, scale or KITTI
    disparity = np.where(valid, stored, 0).astype(np.float32) / np.float32(scale) + np.float32(offset)
    return np.where(valid, disparity, np.float32(0)), valid


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


def _decode(data: bytes, path: PathLike) -> NDArray:
    """Pixels as they are stored: (H, W) or (H, W, C) in OpenCV's order of channels, 8 or 16 bit or float."""
    _check_size(header_size(data), path)
    wrong = flaw(data)
    if wrong:
        raise PolzooError(f"{path} is {wrong}")
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


def _check_size(size: tuple[int, ...] | None, path: PathLike) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise PolzooError(f"{path} is {size[1]}×{size[0]} pixels; at most {MAX_PIXELS:,} in all are read")


def _npy(data: bytes, path: PathLike) -> NDArray:
    """The (H, W) numbers of an NPY file; pickles are refused, as is a header that promises more than there is."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    except (ValueError, EOFError) as error:
        raise PolzooError(f"{path} is a damaged NPY file: {error}") from error
    if dtype.kind not in "fiub" or len(shape) != 2 or 0 in shape:
        raise PolzooError(f"{path} holds {dtype} {shape}; wanted are numbers (H, W)")
    _check_size(shape, path)
    if len(data) - stream.tell() < shape[0] * shape[1] * dtype.itemsize:
        raise PolzooError(f"{path} is cut off: its header promises {shape} {dtype}")
    return np.load(io.BytesIO(data), allow_pickle=False)


def _png(pixels: NDArray) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise PolzooError(f"cannot encode {pixels.dtype} {pixels.shape} as PNG")
    return data.tobytes()
