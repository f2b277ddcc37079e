"""Options of the RAFT family. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from polzoo.options import Options

Channels = Annotated[int, Field(ge=1, le=1024)]


class RAFTLiteOptions(Options):
    """Options of ``raft-lite``, the blueprint's small backbone (3,938,241 parameters as it stands)."""

    tiny = {"hidden_dim": 8, "context_dim": 8, "feature_dim": 8, "width": 4, "corr_levels": 2, "corr_radius": 2}

    hidden_dim: Channels = Field(default=128, description="channels of the GRU's hidden state")
    context_dim: Channels = Field(default=128, description="channels of the context that every GRU gate reads")
    feature_dim: Channels = Field(default=128, description="channels of the matching features")
    width: int = Field(
        default=64,
        ge=2,
        le=512,
        multiple_of=2,
        description="channels of the stem; the stages have width, 1.5 width, 2 width",
    )
    corr_levels: int = Field(default=4, ge=1, le=6, description="levels of the correlation pyramid")
    corr_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")


def _without_cuda(name: Any) -> Any:
    return {"reg_cuda": "reg", "alt_cuda": "alt"}.get(name, name) if isinstance(name, str) else name


class RAFTOptions(Options):
    """Options of ``raft``, RAFT-Stereo as its authors published it."""

    tiny = {"hidden_dims": (8, 8, 8), "feature_dim": 8, "width": 4, "corr_levels": 2, "corr_radius": 2}

    gru_levels: int = Field(
        default=3, ge=1, le=3, description="GRU levels, each at half the resolution of the one before"
    )
    downsample: Literal[2, 3] = Field(default=2, description="features at 1/4 (2) or 1/8 (3) of the image's resolution")
    shared_backbone: bool = Field(
        default=False, description="one encoder for features and context, as in the realtime model"
    )
    slow_fast: bool = Field(default=False, description="run the coarse GRU levels more often than the finest one")
    context_norm: Literal["batch", "instance", "group", "none"] = Field(
        default="batch", description="normalisation in the context encoder"
    )
    hidden_dims: tuple[Channels, Channels, Channels] = Field(
        default=(128, 128, 128), description="hidden channels of the GRU levels, coarsest first as in the official code"
    )
    feature_dim: Channels = Field(default=256, description="channels of the matching features")
    width: int = Field(
        default=64,
        ge=2,
        le=512,
        multiple_of=2,
        description="channels of the stem; every other fixed width scales with it",
    )
    corr_levels: int = Field(default=4, ge=1, le=8, description="levels of the correlation pyramid")
    corr_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")
    lookup: Annotated[Literal["reg", "alt"], BeforeValidator(_without_cuda)] = Field(
        default="reg",
        description="keep the whole cost volume (reg) or correlate on demand, slower with less memory (alt)",
    )
