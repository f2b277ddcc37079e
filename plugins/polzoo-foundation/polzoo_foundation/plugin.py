"""What polzoo sees of this package: one backbone and its options. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from polzoo import hookimpl
from polzoo.hookspecs import Register
from polzoo.options import Options


class FoundationOptions(Options):
    """Options of ``foundation``: the frozen monocular network, and the trained stereo part beside it."""

    tiny: ClassVar[Mapping[str, Any]] = {
        "mono": "random",
        "pretrained": False,
        "hidden_dim": 8,
        "feature_dim": 8,
        "width": 4,
        "gru_levels": 1,
        "corr_levels": 2,
        "corr_radius": 2,
    }

    mono: Literal["small", "base", "large", "random"] = Field(
        default="small",
        description="which Depth Anything V2; 'random' is a network of a few thousand weights, for tests",
    )
    pretrained: bool = Field(default=True, description="start from the published weights of the monocular network")
    gru_levels: int = Field(default=3, ge=1, le=3, description="GRU levels, each at half the size of the one before")
    hidden_dim: int = Field(default=128, ge=1, le=1024, description="channels of each level's hidden state")
    feature_dim: int = Field(default=128, ge=1, le=1024, description="channels of the matching features")
    width: int = Field(default=64, ge=2, le=512, multiple_of=2, description="channels of the stereo encoder's stem")
    corr_levels: int = Field(default=4, ge=1, le=8, description="levels of the correlation pyramid")
    corr_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")


@hookimpl
def backbones(register: Register) -> None:
    register(
        "foundation",
        "polzoo_foundation.backbone:Foundation",
        config="polzoo_foundation.plugin:FoundationOptions",
        summary="frozen Depth Anything V2 features beside a stereo encoder (after FoundationStereo's pairing)",
        licence="MIT; weights: small Apache-2.0, base and large CC-BY-NC-4.0",
    )
