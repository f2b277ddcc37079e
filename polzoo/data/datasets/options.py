"""Options of the published data sets; imports neither numpy nor torch, so that listing and parsing stay instant."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from polzoo.data.options import FolderOptions
from polzoo.options import Options
from polzoo.settings import Analysers

BAYER_PATTERNS = Literal["none", "RGGB", "BGGR", "GRBG", "GBRG"]


class RootOptions(Options):
    """Where the set lies. Nothing is downloaded: a missing root says what must be there and where it comes from."""

    root: str = Field(min_length=1, description="folder that the set was unpacked into")


class SceneFlowOptions(RootOptions):
    """Scene Flow: FlyingThings3D, Monkaa and Driving."""

    scenes: Literal["all", "flyingthings3d", "monkaa", "driving"] = Field(
        default="all", description="which of the three sets; FlyingThings3D alone has a test split"
    )
    render: Literal["clean", "final", "both"] = Field(
        default="final", description="without or with defocus, motion blur and haze"
    )
    split: Literal["train", "test"] = Field(default="train", description="'test': FlyingThings3D's TEST folder")
    take: Literal["all", "used", "raft-400"] = Field(
        default="all",
        description="'used': without the frames that the set's all_unused_files.txt lists; "
        "'raft-400': the 400 test frames that RAFT-Stereo is measured on",
    )

    @model_validator(mode="after")
    def _has_split(self) -> SceneFlowOptions:
        if self.split == "test" and self.scenes in ("monkaa", "driving"):
            raise ValueError(f"{self.scenes} has no test split; FlyingThings3D has")
        if self.take == "raft-400" and (self.split != "test" or self.render == "both"):
            raise ValueError('take="raft-400" chooses among the test frames of one render: add split="test"')
        return self


class KittiOptions(RootOptions):
    """KITTI: the training pairs have sparse truth, the testing ones none."""

    split: Literal["training", "testing"] = Field(default="training", description="which folder of the set")


class Kitti12Options(KittiOptions):
    """KITTI 2012, whose pictures come in colour and in grey."""

    colour: bool = Field(default=True, description="colored_0/1; false: image_0/1, grey, shown as RGB")


class Middlebury05Options(RootOptions):
    """Middlebury 2005: nine pairs of views per scene and one truth."""

    illumination: int = Field(default=1, ge=1, le=3, description="which lighting, Illum1 to Illum3")
    exposure: int = Field(default=1, ge=0, le=2, description="which exposure, Exp0 to Exp2")


class Middlebury06Options(Middlebury05Options):
    """Middlebury 2006: nine pairs of views per scene and one truth."""

    exposure: int = Field(default=2, ge=0, le=2, description="which exposure, Exp0 to Exp2")


class Middlebury14Options(RootOptions):
    """Middlebury 2014, at full size."""

    rectification: Literal["perfect", "imperfect"] = Field(
        default="perfect", description="'imperfect': as a calibration leaves it, some rows differ by a pixel"
    )
    right: Literal["same", "exposure", "lighting"] = Field(
        default="same", description="right view under another exposure (im1E) or other lights (im1L)"
    )


class MiddleburyOptions(RootOptions):
    """The Middlebury benchmark, version 3 (MiddEval3)."""

    size: Literal["F", "H", "Q"] = Field(default="Q", description="full, half or quarter size")
    split: Literal["training", "test"] = Field(default="training", description="the test pairs have no truth")


class ETH3DOptions(RootOptions):
    """ETH3D's low-resolution two-view benchmark."""

    split: Literal["training", "test"] = Field(default="training", description="the test pairs have no truth")


class SintelOptions(RootOptions):
    """MPI Sintel stereo, the training set."""

    render: Literal["clean", "final", "both"] = Field(default="final", description="without or with blur and haze")
    occluded: bool = Field(
        default=False,
        description="keep the truth of pixels that the right view does not see; published readers drop it",
    )


class FallingThingsOptions(RootOptions):
    """Falling Things (FAT)."""

    scenes: Literal["all", "single", "mixed"] = Field(default="all", description="one falling object, or several")


class TartanAirOptions(RootOptions):
    """TartanAir."""

    level: Literal["all", "easy", "hard"] = Field(default="all", description="how fast the camera moves")
    environment: str | None = Field(default=None, min_length=1, description="one environment alone, such as office")


class CREStereoOptions(RootOptions):
    """The CREStereo training set."""

    scenes: Literal["all", "hole", "reflective", "shapenet", "tree"] = Field(default="all", description="which part")


class InStereo2KOptions(RootOptions):
    """InStereo2K."""

    split: Literal["train", "test"] = Field(default="train", description="2000 or 50 pairs")


class DrivingStereoOptions(RootOptions):
    """DrivingStereo; the weather subsets are what zero-shot figures are given for."""

    scenes: Literal["train", "test", "weather", "cloudy", "foggy", "rainy", "sunny"] = Field(
        default="weather", description="'weather': the four subsets of 500 pairs, one after the other"
    )
    size: Literal["half", "full"] = Field(default="half", description="about 881×400 or 1762×800 pixels")

    @model_validator(mode="after")
    def _exists(self) -> DrivingStereoOptions:
        if self.scenes == "train" and self.size == "full":
            raise ValueError('the training pairs were published at half size alone: size="half"')
        return self


class PolarizedOptions(FolderOptions):
    """Pairs of polarization cameras: raw mosaics, or one picture for each of several analyser angles."""

    record: Literal["mosaic", "angles"] = Field(
        default="mosaic",
        description="'mosaic': left/ and right/ hold raw 2×2 frames; "
        "'angles': left_0/, left_45/, left_90/, left_135/ and right_… hold a picture for each angle (degrees)",
    )
    bayer: BAYER_PATTERNS = Field(default="none", description="colours of the upper left 2×2 blocks of a mosaic")
    bits: int | None = Field(default=None, ge=8, le=16, description="of a reading; unset: of the file, 8 or 16")
    extinction: float | None = Field(default=None, gt=1, description="of the analysers, whose leak is undone")
    maps: str = Field(default="", description="named maps to give besides the views: stokes, dolp, aolp, 'dolp,aolp'")
    light: float = Field(default=0.0, description="angle of the light's polarization, degrees: I∥ = I(light)")
    exposure: float = Field(default=1.0, gt=0, description="factor on the light of both views")
    gamma: Literal["display", "linear"] = Field(default="display", description="of the views that are made")
    analysers: Analysers = Field(
        default="parallel-crossed", description="analysers that the views are made to look through; 'none': ½·S0"
    )
