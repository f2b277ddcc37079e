"""Options of the fusion strategies. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from polzoo.options import Options

Channels = Annotated[int, Field(ge=1, le=1024)]
ScaleInit = Annotated[float, Field(ge=-10, le=10)]
Schedule = Literal["aligned", "literal"]

SCHEDULE = "weight of a step: as at the trained iteration it stands for, or literally i / (N - 1)"
HIDDEN = "channels inside the residual network"
SCALE = "first value of the residual's learnable scale"


class PolVolumeOptions(Options):
    """Options of every strategy that looks polarization up, and all that ``v1`` has."""

    tiny = {"pol_levels": 2, "pol_radius": 2}

    pol_levels: int = Field(default=4, ge=1, le=6, description="levels of the polarization pyramid")
    pol_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")

    @property
    def pol_dim(self) -> int:
        """Channels of a polarization lookup."""
        return self.pol_levels * (2 * self.pol_radius + 1)


class V2Options(PolVolumeOptions):
    """Options of ``v2``: polarization attention and gated fusion."""

    tiny = {**PolVolumeOptions.tiny, "attention_hidden": 2, "gate_hidden": 4, "fused_dim": 6}

    attention_hidden: Channels = Field(default=9, description="channels inside the attention network")
    gate_hidden: int = Field(
        default=64, ge=2, le=1024, multiple_of=2, description="channels of the gate's first layer, half in the second"
    )
    fused_dim: Channels = Field(default=128, description="channels of the fused cost that the update cell reads")


class V2AOptions(PolVolumeOptions):
    """Options of ``v2a``: a residual of polarization on every lookup."""

    tiny = {**PolVolumeOptions.tiny, "hidden": 8}

    hidden: Channels = Field(default=64, description=HIDDEN)
    scale_init: ScaleInit = Field(default=0.1, description=SCALE)


class V2BOptions(V2AOptions):
    """Options of ``v2b``: the residual, scheduled over the iterations."""

    schedule: Schedule = Field(default="aligned", description=SCHEDULE)


class V2COptions(PolVolumeOptions):
    """Options of ``v2c``: gradient gating, scheduled over the iterations."""

    tiny = {**PolVolumeOptions.tiny, "hidden": 8, "gate_hidden": 4}

    schedule: Schedule = Field(default="aligned", description=SCHEDULE)
    hidden: Channels = Field(default=64, description=HIDDEN)
    gate_hidden: Channels = Field(default=32, description="channels inside the gating network")
    scale_init: ScaleInit = Field(default=0.1, description=SCALE)


class V2DOptions(Options):
    """Options of ``v2d``: a gate on every looked-up cost from the colours' difference there."""

    tiny = {"hidden": 2}

    hidden: Channels = Field(default=8, description="channels of the gate's 3-D convolution")
    strength_init: ScaleInit = Field(default=0.2, description="first value of the gate's learnable strength")


class V2EOptions(Options):
    """Options of ``v2e``: every cost of the volume weighed by its pixels' difference."""

    tiny = {"hidden": 2}

    hidden: Channels = Field(default=8, description="channels of the weight network")


class DualVolumeOptions(PolVolumeOptions):
    """Options of ``dualvolume``: correlation and polarization blended per pixel."""

    tiny = {**PolVolumeOptions.tiny, "hidden": 4}

    hidden: Channels = Field(default=32, description="channels of the network that predicts the blend")
    trust_init: float = Field(default=4.0, ge=-20, le=20, description="first logit of the trust in correlation")


class ContextOptions(Options):
    """Options of ``film`` and ``twopass``, which inject polarization into the context."""

    tiny = {"hidden": 4}

    hidden: Channels = Field(default=32, description="channels of the polarization features")


class FiLMOptions(ContextOptions):
    """Options of ``film``: coarse polarization features scale and shift the context."""

    coarseness: int = Field(default=4, ge=1, le=32, description="cells of the feature grid per coarse cell, each way")


class PolEncOptions(Options):
    """Options of ``concat``: features of the unsigned contrast beside the matching features."""

    tiny = {"pol_width": 4, "pol_dim": 4}

    pol_dim: Channels = Field(default=128, description="channels of the polarization features")
    pol_width: int = Field(
        default=128, ge=4, le=1024, multiple_of=4, description="channels inside the polarization encoder"
    )


class CrossAttentionOptions(PolEncOptions):
    """Options of ``crossattn``: stereo features query polarization features."""

    tiny = {**PolEncOptions.tiny, "attention_dim": 4, "heads": 2}

    attention_dim: Channels = Field(default=128, description="channels of queries, keys and values, over all heads")
    heads: int = Field(default=4, ge=1, le=64, description="attention heads; must divide attention_dim")
    pool: int = Field(default=8, ge=1, le=64, description="keys and values are averaged over so many cells, each way")
    use_mask: bool = Field(default=False, description="attend only where the contrast is at least half its maximum")
    final_fusion: bool = Field(
        default=True, description="a last layer over stereo and polarization features; without, stereo starts unchanged"
    )
    enable_stereo_to_pol: bool = Field(default=False, description="polarization features query stereo features alike")

    @model_validator(mode="after")
    def _consistent(self) -> CrossAttentionOptions:
        if self.attention_dim % self.heads:
            good = [n for n in range(1, 65) if self.attention_dim % n == 0]
            near = min(good, key=lambda n: abs(n - self.heads))
            raise ValueError(f"heads={self.heads} does not divide attention_dim={self.attention_dim}; try heads={near}")
        if self.enable_stereo_to_pol and not self.final_fusion:
            raise ValueError("enable_stereo_to_pol has no effect with final_fusion=false, which alone reads its result")
        return self
