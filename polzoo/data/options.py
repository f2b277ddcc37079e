"""Options of the data sets; imports neither numpy nor torch, so that listing and parsing stay instant."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from polzoo.options import Options
from polzoo.settings import Analysers

Control = Annotated[
    Literal["none", "shuffled"],
    Field(description="'shuffled': polarization is read from another pair of the set; nothing else changes"),
]


class SyntheticOptions(Options):
    """What the analytic generator draws. A pair is a pure function of these options and its index.

    ``analysers``, ``noise`` and ``asymmetry`` change what the cameras record, never the scene before them.
    """

    seed: int = Field(default=0, ge=0, description="which series of scenes")
    length: int = Field(default=1000, ge=1, le=2**31, description="number of pairs")
    height: int = Field(default=256, ge=32, le=4096, description="rows of a view, pixels")
    width: int = Field(default=320, ge=32, le=4096, description="columns of a view, pixels")
    max_disparity: float = Field(default=48.0, ge=8.0, le=1024.0, description="no left pixel has more, pixels")
    analysers: Literal["parallel-crossed", "crossed-parallel", "none"] = Field(
        default="parallel-crossed", description="analysers in front of (left, right); 'none' is a plain RGB pair"
    )
    glass: float = Field(default=0.7, ge=0.0, le=1.0, description="probability that a scene has glass in it")
    objects: int = Field(default=11, ge=0, le=40, description="at most this many opaque objects before the room")
    plain: float = Field(
        default=0.3, ge=0.0, le=1.0, description="probability that a surface is almost without texture"
    )
    noise: bool = Field(default=True, description="shot and read noise of the sensors")
    asymmetry: bool = Field(default=True, description="each camera has its own gain, gamma, vignetting and focus")
    control: Control = "none"


class FolderOptions(Options):
    """Pairs of your own: a folder with ``left/``, ``right/`` and what is known, or a CSV or TOML list of them."""

    path: str = Field(min_length=1, description="the folder, or the CSV or TOML file")
    analysers: Analysers = Field(
        default="none", description="analysers in front of (left, right) where a list names none"
    )
    scale: float | None = Field(
        default=None, description="divides stored disparities; unset: 256 for 16-bit PNG, 1 for PFM and NPY"
    )
    offset: float = Field(default=0.0, description="added to disparities after the scale, pixels")
    control: Control = "none"

    @model_validator(mode="after")
    def _divides(self) -> FolderOptions:
        if self.scale == 0:
            raise ValueError("scale divides stored disparities, so it must not be 0")
        return self
