"""Polarization input: from what cameras record (``polzoo.data.stokes``) to what a fusion declares it needs.

A fusion whose ``needs`` is "pair" reads two pictures through analysers and which camera's is parallel; one that names
maps ("stokes", "dolp,aolp", …) finds ``stokes_left``, ``stokes_right``, … in ``pair.polarization``. One scale holds for
both views, and what scales them takes both: a scale for each would erase I∥/I⊥.

    left, right = read_mosaics("left.png", "right.png")
    views = as_views(left, right, light=30, needs=model.fusion.needs)
    disparity = predict(model, views.left, views.right, polarity=views.polarity, polarization=views.polarization)
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from polzoo.data.files import PathLike
from polzoo.data.formats import read_mosaic
from polzoo.data.mosaic import SONY, Floats, Layout
from polzoo.data.stokes import Stokes, check_alike, from_angles, from_dolp, from_mosaic, from_stokes
from polzoo.errors import PolzooError, unknown
from polzoo.settings import POLARITY, maps_of

__all__ = [
    "Stokes",
    "Views",
    "as_views",
    "from_angles",
    "from_dolp",
    "from_mosaic",
    "from_stokes",
    "read_mosaics",
]


def read_mosaics(
    left: PathLike,
    right: PathLike,
    *,
    layout: Layout = SONY,
    bayer: str | None = None,
    bits: int | None = None,
    extinction: float = math.inf,
) -> tuple[Stokes, Stokes]:
    """Raw frames of two polarization cameras, from files; everything else as in :func:`from_mosaic`.

    Raises:
        PolzooError: as :func:`from_mosaic`; unreadable files, frames of two sizes, or 8 and 16 bit, which share no
            scale.
    """
    frames = {str(path): read_mosaic(path) for path in (left, right)}
    check_alike(frames)
    first, second = (
        from_mosaic(frames[str(path)], layout=layout, bayer=bayer, bits=bits, extinction=extinction)
        for path in (left, right)
    )
    return first, second


class Views(NamedTuple):
    """What ``predict`` takes: pictures (H, W, 3) float32 in [0, 1], the polarity, and named maps (C, H, W)."""

    left: Floats
    right: Floats
    polarity: float
    polarization: dict[str, Floats]


def as_views(
    left: Stokes,
    right: Stokes,
    *,
    needs: str = "pair",
    analysers: str = "parallel-crossed",
    light: float = 0.0,
    exposure: float = 1.0,
    gamma: Literal["display", "linear"] = "display",
) -> Views:
    """Both views as a model wants them: seen through analysers, and the maps that its fusion declares.

    Args:
        left, right: rectified, of one size.
        needs: ``model.fusion.needs``: "rgb", "pair", or names of maps (:meth:`Stokes.maps`) such as "dolp,aolp".
        analysers: the pictures to make: "parallel-crossed" (the left camera's analyser is parallel to the light's
            polarization, the right one's crossed), "crossed-parallel", or "none": ½·S0 for both. A surface that does
            not polarize is equally bright in all three.
        light: angle of the light's polarization, degrees: I∥ = I(light), I⊥ = I(light + 90°).
        exposure: factor on the light of both views, pictures and maps; in a picture, more than 1 is white.
        gamma: "display" codes the pictures as sRGB does (IEC 61966-2-1), "linear" leaves them linear:
            ``model.settings.input.gamma``. Maps are always linear.

    Raises:
        PolzooError: views of two sizes, unknown analysers or maps, an exposure that is not above 0.
    """
    if left.values.shape != right.values.shape:
        shapes = " and ".join(str(view.values.shape[1:]) for view in (left, right))
        raise PolzooError(f"the views are {shapes}, (C, H, W); a rectified pair has one shape")
    if analysers not in POLARITY:
        raise unknown("analysers", analysers, POLARITY)
    if gamma not in ("display", "linear"):
        raise unknown("gamma", gamma, ("display", "linear"))
    if not (0 < exposure < math.inf and math.isfinite(light)):
        raise PolzooError(f"exposure must be a number above 0 and light an angle; not {exposure} and {light}")
    sign = POLARITY[analysers]
    if sign:
        turns = (0, 90) if sign > 0 else (90, 0)
        seen = [view.through(light + turn) for view, turn in zip((left, right), turns, strict=True)]
    else:
        seen = [view.values[0] / 2 for view in (left, right)]
    first, second = (_picture(exposure * view, gamma) for view in seen)
    return Views(first, second, sign, _declared(needs, exposure, left=left, right=right))


def _picture(light: Floats, gamma: str) -> Floats:
    """(C, H, W) light as an RGB picture, (H, W, 3)."""
    shown = np.clip(light, 0, 1)
    if gamma == "display":
        shown = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    rgb = np.broadcast_to(shown, (3, *shown.shape[1:])).transpose(1, 2, 0)
    return np.ascontiguousarray(rgb, np.float32)


def _declared(needs: str, exposure: float, **views: Stokes) -> dict[str, Floats]:
    names = maps_of(needs)
    if not names:
        return {}
    found = {f"{name}_{side}": values for side, view in views.items() for name, values in view.maps().items()}
    for name in names:
        if name not in found:
            raise unknown("polarization map", name, found)
    return {name: found[name] * np.float32(exposure if name.startswith("stokes") else 1) for name in names}
