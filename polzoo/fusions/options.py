"""Options of the fusion strategies. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polzoo.options import Options


class V2COptions(Options):
    """Options of ``v2c``: gradient gating, scheduled over the iterations."""

    tiny = {"pol_levels": 2, "pol_radius": 2, "hidden": 8, "gate_hidden": 4}

    pol_levels: int = Field(default=4, ge=1, le=6, description="levels of the polarization pyramid")
    pol_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")
    schedule: Literal["aligned", "literal"] = Field(
        default="aligned",
        description="weight of a step: as at the trained iteration it stands for, or literally i / (N - 1)",
    )
    hidden: int = Field(default=64, ge=1, le=1024, description="channels inside the residual network")
    gate_hidden: int = Field(default=32, ge=1, le=1024, description="channels inside the gating network")
    scale_init: float = Field(default=0.1, ge=-10, le=10, description="first value of the residual's learnable scale")
