"""Options of metrics and baselines; imports neither numpy nor OpenCV, so that listing and parsing stay instant."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from polzoo.options import Options


class BadOptions(Options):
    """Which error makes a pixel bad."""

    threshold: float = Field(default=3.0, ge=0.0, le=1000.0, description="an error above this is bad, pixels")
    missing: Literal["bad", "skip"] = Field(
        default="bad", description="a pixel without estimate counts as bad, or is left out"
    )


class QuantileOptions(Options):
    """Which share of the pixels stays below the error that is given."""

    percent: int = Field(default=90, ge=1, le=99, description="share of the pixels, percent")


class RealPairsOptions(Options):
    """Where the five pairs lie."""

    root: str = Field(min_length=1, description="folder that holds mid2003_teddy, mid2006_Wood2, …")


class SGBMOptions(Options):
    """OpenCV's StereoSGBM. ``num_disparities`` must cover the range of the data: what lies outside is never found.

    The penalties are absolute, for costs summed over 3 channels and block_size² pixels; OpenCV suggests
    p1 = 24·block_size² and p2 = 96·block_size², which the defaults are.
    """

    num_disparities: int = Field(
        default=64, ge=16, le=4096, multiple_of=16, description="width of the search range, pixels"
    )
    min_disparity: int = Field(default=0, ge=-1024, le=1024, description="start of the search range, pixels")
    block_size: int = Field(default=5, ge=1, le=31, description="side of the matching window, odd, pixels")
    p1: int = Field(default=600, ge=0, le=16000, description="penalty of a disparity step of one pixel")
    p2: int = Field(default=2400, ge=1, le=16000, description="penalty of a larger step; above p1")
    uniqueness: int = Field(
        default=10, ge=0, le=100, description="percent by which the best cost must win, else no value"
    )
    speckle_window: int = Field(default=100, ge=0, le=100000, description="smaller blobs get no value, pixels; 0: off")
    speckle_range: int = Field(default=2, ge=0, le=100, description="largest disparity step within a blob, pixels")
    disp12: int = Field(default=1, ge=-1, le=100, description="largest left-right difference, pixels; -1: no check")
    prefilter_cap: int = Field(
        default=15, ge=15, le=63, description="the horizontal gradient is clipped to this, grey levels"
    )
    mode: Literal["sgbm", "3way", "hh"] = Field(default="3way", description="5, 3 or 8 directions of aggregation")
    pad: bool = Field(default=True, description="match the left strip too, whose search range leaves the right image")
    fill: Literal["left", "lower"] = Field(
        default="left",
        description="sgbm-filled: a hole takes the disparity on its left, or the lower of both neighbours",
    )

    @model_validator(mode="after")
    def _fits(self) -> SGBMOptions:
        if self.block_size % 2 == 0:
            raise ValueError(f"block_size must be odd, not {self.block_size}")
        if self.p2 <= self.p1:
            raise ValueError(f"p2 ({self.p2}) must be above p1 ({self.p1})")
        return self
