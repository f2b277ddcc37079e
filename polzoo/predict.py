"""From what people have (files, PIL images, arrays) to a disparity in numpy, and back to a warm start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.data.formats import read_image
from polzoo.errors import PolzooError, shorten, unknown
from polzoo.pair_check import check_pair
from polzoo.settings import POLARITY

if TYPE_CHECKING:
    from polzoo.model import StereoModel

__all__ = [
    "MIN_SIDE",
    "Inputs",
    "as_image",
    "as_inputs",
    "as_iterations",
    "as_polarity",
    "check_pair",
    "evaluating",
    "predict",
]

MIN_SIDE = 8
"""Views with fewer rows or columns are refused: nothing can be matched in them."""

Floats = NDArray[np.float32]


def as_image(x: Any, name: str = "image") -> Floats:
    """Any RGB picture as (3, H, W) float32 in [0, 1].

    Args:
        x: a path; a PIL image in mode RGB; a numpy array (H, W, 3) of uint8, uint16 or float in [0, 1]; a torch
            tensor (3, H, W), float in [0, 1].
        name: what an error calls it.

    Raises:
        PolzooError: another type, shape or range, NaN, or an unreadable file.
    """
    if isinstance(x, (str, os.PathLike)):
        return np.ascontiguousarray(read_image(Path(x)).transpose(2, 0, 1))
    if isinstance(x, Tensor):
        return _from_tensor(x, name)
    if type(x).__module__.partition(".")[0] == "PIL":
        if x.mode != "RGB":
            raise PolzooError(f"{name} is a PIL image in mode {x.mode!r}; wanted is 'RGB' (see Image.convert)")
        try:
            x = np.asarray(x)
        except OSError as error:  # PIL reads the file only now
            raise PolzooError(f"{name} is a PIL image that cannot be read: {error}") from None
    if not isinstance(x, np.ndarray):
        allowed = "a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W)"
        raise PolzooError(f"{name} is a {type(x).__name__}; wanted is {allowed}")
    return _from_array(x, name)


def _from_array(x: np.ndarray, name: str) -> Floats:
    if x.ndim != 3 or x.shape[2] != 3:
        hint = "; transpose it with .transpose(1, 2, 0)" if x.ndim == 3 and x.shape[0] == 3 else ""
        raise PolzooError(f"{name} is an array {x.shape}; wanted is (H, W, 3), RGB{hint}")
    x = x.transpose(2, 0, 1)
    if x.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(x, dtype=np.float32) / np.float32(np.iinfo(x.dtype).max)
    if x.dtype.kind != "f":
        raise PolzooError(f"{name} is an array of {x.dtype}; wanted is uint8, uint16, or float in [0, 1]")
    return _in_range(np.ascontiguousarray(x, dtype=np.float32), name)


def _from_tensor(x: Tensor, name: str) -> Floats:
    if x.ndim != 3 or x.shape[0] != 3 or not x.is_floating_point():
        raise PolzooError(f"{name} is a tensor {x.dtype} {tuple(x.shape)}; wanted is (3, H, W), RGB, float in [0, 1]")
    return _in_range(x.detach().to("cpu", torch.float32).contiguous().numpy(), name)


def _in_range(x: Floats, name: str) -> Floats:
    if x.size and not np.isfinite(x).all():
        raise PolzooError(f"{name} has NaN or infinite pixels")
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if low < 0 or high > 1:
        hint = "; divide it by 255" if 1 < high <= 255 and low >= 0 else ""
        raise PolzooError(f"{name} has values from {low:.4g} to {high:.4g}; floats must be in [0, 1]{hint}")
    return x


def as_polarity(value: float | str | None) -> float | None:
    """+1 (left parallel), −1 (left crossed) or 0 (no analysers) from that number or the analysers' name; None stays.

    Raises:
        PolzooError: another name (with the nearest match) or number.
    """
    if value is None:
        return None
    if isinstance(value, str) and value in POLARITY:
        return POLARITY[value]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise unknown("polarity", str(value), POLARITY) from None
    if number not in (1.0, 0.0, -1.0):
        names = ", ".join(f"{sign:+.0f} ({name})" for name, sign in POLARITY.items())
        raise PolzooError(f"a polarity is {names}; not {value}")
    return number


def as_iterations(value: int | None) -> int | None:
    """A number of refinement steps, or None for the model's own; a PolzooError for anything else."""
    if value is not None and not (type(value) is int and 1 <= value <= 1000):
        raise PolzooError(f"iterations must be a whole number from 1 to 1000, not {value!r}")
    return value


class Inputs(NamedTuple):
    """What a model's ``forward`` takes: views (1, 3, H, W) on its device and the keywords beside them."""

    left: Tensor
    right: Tensor
    call: dict[str, Any]


def as_inputs(
    model: StereoModel,
    left: Any,
    right: Any,
    *,
    polarity: Any = None,
    polarization: Mapping[str, Any] | None = None,
    iterations: int | None = None,
    previous: Any = None,
) -> Inputs:
    """Check a pair and move it to the model; arguments and errors as in :func:`predict`."""
    views = as_image(left, "left"), as_image(right, "right")
    sizes = [f"{view.shape[2]}×{view.shape[1]}" for view in views]
    if sizes[0] != sizes[1]:
        raise PolzooError(f"left is {sizes[0]} pixels, right is {sizes[1]}; a rectified pair has one size")
    if min(views[0].shape[1:]) < MIN_SIDE:
        raise PolzooError(f"the views are {sizes[0]} pixels; each side must have {MIN_SIDE} or more")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    first, second = (torch.from_numpy(view)[None].to(like.device, like.dtype) for view in views)
    call: dict[str, Any] = {"polarity": as_polarity(polarity), "iterations": as_iterations(iterations)}
    if polarization:
        call["polarization"] = {name: _map(values, name).to(first) for name, values in polarization.items()}
    if previous is not None:
        call["initial_disparity"] = _warm_start(model, previous, first)
    return Inputs(first, second, call)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def predict(
    model: StereoModel,
    left: Any,
    right: Any,
    *,
    polarity: float | str | None = None,
    polarization: Mapping[str, Any] | None = None,
    iterations: int | None = None,
    previous: Any = None,
) -> Floats:
    """Disparity of the left view, (H, W) float32, pixels; on the model's device, in evaluation mode.

    Args:
        left, right: a rectified pair of one size, each whatever :func:`as_image` takes.
        polarity: +1, −1, 0, or ``parallel-crossed``, ``crossed-parallel``, ``none``; default: the model's settings.
            It belongs to the cameras: whoever swaps the views, swaps it too.
        polarization: maps (C, H, W) by name, for a fusion that declares them; ``polzoo.data.polarization`` makes them.
        iterations: per pass; default: the model's settings.
        previous: (H, W) disparity of the previous frame, pixels; NaN or infinite where unknown. A warm start.

    Raises:
        PolzooError: bad input, in one line that says what is allowed.
    """
    given = {"polarity": polarity, "polarization": polarization, "iterations": iterations, "previous": previous}
    pair = as_inputs(model, left, right, **given)
    with evaluating(model):
        disparity = model(pair.left, pair.right, **pair.call).disparity
    return disparity[0, 0].float().cpu().numpy()


def _map(values: Any, name: str) -> Tensor:
    """A named map (C, H, W) as (1, C, H, W); whether its size is the views' is the model's to check."""
    found = torch.as_tensor(np.asarray(values, dtype=None if hasattr(values, "dtype") else np.float32))
    if found.ndim != 3 or not found.is_floating_point() or not found.isfinite().all():
        raise PolzooError(f"{name} is {found.dtype} {tuple(found.shape)}; a map is float (C, H, W), finite throughout")
    return found[None]


def _warm_start(model: StereoModel, previous: Any, like: Tensor) -> Tensor | None:
    """A full-size disparity on the padded feature grid, (1, 1, h, w) in feature pixels; None if nothing is known."""
    try:
        given = torch.as_tensor(np.asarray(previous, dtype=np.float32))
    except (TypeError, ValueError, RuntimeError):  # the last: a tensor with gradients
        raise PolzooError(f"previous is {shorten(repr(previous))}; wanted is a disparity (H, W), pixels") from None
    if given.shape != like.shape[-2:]:
        raise PolzooError(f"previous is {tuple(given.shape)}; wanted is a disparity (H, W), {tuple(like.shape[-2:])}")
    stride = model.backbone.host.stride
    padded = F.pad(given[None, None], model.padding({"left": like}), mode="replicate")
    known = padded.isfinite()
    share = F.avg_pool2d(known.float(), stride)
    if not share.any():
        return None
    if (middle := float(padded[known].median())) < 0:  # a few below 0 are what models give themselves
        raise PolzooError(f"previous is negative (median {middle:.1f} px); disparities are positive: flip its sign")
    cells = F.avg_pool2d(torch.where(known, padded, 0.0), stride) / share.clamp_min(1e-6)
    return (_fill(cells, share > 0) / stride).to(like.device)


def _fill(cells: Tensor, known: Tensor) -> Tensor:
    """(1, 1, h, w) whose unknown cells take the average of their known neighbours, ring by ring."""
    while not known.all():
        count = F.avg_pool2d(known.float(), 3, 1, 1)
        spread = F.avg_pool2d(torch.where(known, cells, 0.0), 3, 1, 1) / count.clamp_min(1e-6)
        cells, known = torch.where(known, cells, spread), known | (count > 0)
    return cells
