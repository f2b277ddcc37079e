"""What polzoo sees of this package: a data set, a metric, a command. Imports neither numpy nor torch."""

from __future__ import annotations

from typing import Literal

import click
from pydantic import Field

from polzoo import hookimpl
from polzoo.data.datasets.options import BAYER_PATTERNS
from polzoo.data.options import FolderOptions
from polzoo.hookspecs import Register
from polzoo.options import Options
from polzoo.settings import Analysers

UNIT = "of the translation T in the calibration file"


class RigOptions(FolderOptions):
    """Raw frames in ``left/`` and ``right/`` of a folder, rectified as they are read; the rest as in ``folder``."""

    calibration: str = Field(min_length=1, description="the rig's calibration: a YAML, XML or JSON file of OpenCV's")
    unit: Literal["m", "mm"] = Field(default="m", description=UNIT)
    analysers: Analysers = Field(default="parallel-crossed", description="that the views are made to look through")
    light: float = Field(default=0.0, description="angle of the light's polarization in the rectified view, degrees")
    exposure: float = Field(default=1.0, gt=0, description="factor on the light of both views")
    bayer: BAYER_PATTERNS = Field(default="none", description="colours of the upper left 2×2 blocks of a mosaic")
    bits: int | None = Field(default=None, ge=8, le=16, description="of a reading; unset: of the file, 8 or 16")
    maps: str = Field(default="", description="named maps to give besides the views: stokes, dolp, aolp, 'dolp,aolp'")


class SeenThroughOptions(Options):
    """How far behind the truth counts as seen through."""

    threshold: float = Field(default=3.0, gt=0, description="pixels of disparity")


@hookimpl
def datasets(register: Register) -> None:
    register(
        "rig",
        "polzoo_rig.dataset:Rig",
        config="polzoo_rig.plugin:RigOptions",
        summary="raw mosaics of two polarization cameras, rectified by their calibration",
        licence="MIT",
    )


@hookimpl
def metrics(register: Register) -> None:
    register(
        "seen-through",
        "polzoo_rig.metric:SeenThrough",
        config="polzoo_rig.plugin:SeenThroughOptions",
        summary="share of pixels estimated clearly behind the true surface, as a view through glass is",
        licence="MIT",
    )


@hookimpl
def commands(app: click.Group) -> None:
    from polzoo_rig.command import rig

    app.add_command(rig)
