"""Options of the RAFT family. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from polzoo.errors import unknown
from polzoo.options import Options

Channels = Annotated[int, Field(ge=1, le=1024)]
Cell = Literal["selective", "conv"]
_CELL = "recurrent units: 1×1 and 3×3 blended by attention (selective), or one 3×3 with a context per gate (conv)"


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
    """Options of ``raft``: RAFT-Stereo as its authors published it, or Selective-RAFT (``cell="selective"``)."""

    tiny = {"hidden_dims": (8, 8, 8), "feature_dim": 8, "width": 4, "corr_levels": 2, "corr_radius": 2}

    cell: Cell = Field(default="conv", description=_CELL)
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

    @model_validator(mode="after")
    def _one_width(self) -> RAFTOptions:
        _equal_for_selective(self.cell, self.hidden_dims)
        return self


class GeometryOptions(Options):
    """What every backbone with a geometry encoding volume has."""

    cell: Cell = Field(default="selective", description=_CELL)
    gru_levels: int = Field(
        default=3, ge=1, le=3, description="GRU levels, each at half the resolution of the one before"
    )
    slow_fast: bool = Field(default=False, description="run the coarse GRU levels more often than the finest one")
    hidden_dims: tuple[Channels, Channels, Channels] = Field(
        default=(128, 128, 128), description="hidden channels of the GRU levels, coarsest first as in the official code"
    )
    max_disp: int = Field(
        default=192,
        ge=32,
        le=1024,
        multiple_of=32,
        description="candidates of the geometry volume and of the first disparity, pixels: 0 to max_disp - 4",
    )
    corr_levels: int = Field(default=2, ge=1, le=8, description="levels of both lookup pyramids")
    corr_radius: int = Field(default=4, ge=1, le=16, description="lookup radius at every level: 2 radius + 1 values")
    width: int = Field(
        default=64,
        ge=2,
        le=512,
        multiple_of=2,
        description="channels of the context encoder's stem; its other widths and the motion encoder's scale with it",
    )
    feature_dim: Channels = Field(default=96, description="channels of the matching features, a multiple of groups")
    groups: int = Field(default=8, ge=1, le=256, description="groups that the matching features are correlated in")
    volume_width: int = Field(
        default=8,
        ge=1,
        le=256,
        description="channels of the geometry volume; inside the hourglass 2, 4, 6 times as many",
    )

    @model_validator(mode="after")
    def _fits(self) -> GeometryOptions:
        _equal_for_selective(self.cell, self.hidden_dims)
        if self.feature_dim % self.groups:
            raise ValueError(f"feature_dim={self.feature_dim} is no multiple of groups={self.groups}")
        return self


class IGEVOptions(GeometryOptions):
    """Options of ``igev``: Selective-IGEV as its authors published it, or IGEV-Stereo (``cell="conv"``)."""

    tiny = {
        "hidden_dims": (4, 4, 4),
        "width": 2,
        "feature_width": 2,
        "feature_dim": 4,
        "groups": 2,
        "volume_width": 1,
        "max_disp": 32,
        "corr_radius": 2,
    }

    feature_width: int = Field(
        default=32, ge=2, le=512, multiple_of=2, description="channels of MobileNetV2's stem; its others scale with it"
    )


def _equal_for_selective(cell: str, hidden_dims: tuple[int, ...]) -> None:
    if cell == "selective" and len(set(hidden_dims)) > 1:
        raise ValueError(
            f'cell="selective" has one channel attention for all levels: hidden_dims={list(hidden_dims)} must be equal'
        )


REPVIT = {
    "nano": {
        "dims": (32, 48, 80, 112),
        "blocks": ("b", "sb", "sb", "s"),
        "hidden_dims": (32, 32, 32),
        "gru_levels": 2,
        "max_disp": 128,
        "width": 24,
        "feature_dim": 32,
        "groups": 4,
        "volume_width": 4,
    },
    "small": {
        "dims": (48, 80, 128, 192),
        "blocks": ("sb", "sbb", "sbsb", "sb"),
        "hidden_dims": (64, 64, 64),
        "gru_levels": 2,
        "max_disp": 192,
        "width": 32,
        "feature_dim": 64,
        "groups": 8,
        "volume_width": 8,
    },
    "base": {
        "dims": (64, 128, 256, 384),
        "blocks": ("sb", "sbsb", "sbsbsbsbsbsb", "sb"),
        "hidden_dims": (96, 96, 96),
        "gru_levels": 3,
        "max_disp": 192,
        "width": 64,
        "feature_dim": 96,
        "groups": 8,
        "volume_width": 8,
    },
}
"""What the options of ``repvit`` are where a spec leaves them out, by the encoder's size."""

RESOLUTIONS = ("1/4", "1/8", "1/16", "1/32")


class RepViTOptions(GeometryOptions):
    """Options of ``repvit``. What is left out follows from ``encoder``; the defaults shown are those of "small"."""

    tiny = {
        "dims": (4, 4, 4, 4),
        "blocks": ("s", "b", "", "s"),
        "hidden_dims": (4, 4, 4),
        "width": 2,
        "feature_dim": 4,
        "groups": 2,
        "volume_width": 1,
        "max_disp": 32,
        "corr_radius": 2,
    }

    encoder: str = Field(
        default="small", description='"nano", "small", "base", or a RepViT of timm by name, such as "repvit_m1_1"'
    )
    dims: tuple[int, ...] = Field(default=(), description="channels at 1/4, 1/8, 1/16 and 1/32, even")
    blocks: tuple[str, ...] = Field(
        default=(),
        description='blocks at 1/4, 1/8, 1/16 and 1/32, a letter each: "s" with squeeze-excitation, "b" without',
    )
    pretrained: bool = Field(default=False, description="start from timm's weights of the named RepViT")
    polarization: bool = Field(default=False, description="the pair's unsigned contrast as a fourth input channel")

    def implied(self) -> Mapping[str, Any]:
        return REPVIT.get(self.encoder, {**REPVIT["base"], "dims": (), "blocks": ()})

    @property
    def inputs(self) -> int:
        """Channels of an input image."""
        return 3 + self.polarization

    @model_validator(mode="before")
    @classmethod
    def _by_encoder(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        encoder = given.get("encoder", "small")
        if encoder in REPVIT:
            for name in ("dims", "blocks"):
                entries = given.get(name)
                if isinstance(entries, tuple) and len(entries) != len(RESOLUTIONS):
                    raise ValueError(f"{name} needs one entry for each of {', '.join(RESOLUTIONS)}, not {len(entries)}")
            if given.get("pretrained"):
                raise ValueError(
                    f'pretrained weights are timm\'s: name one, such as encoder="repvit_m1_1", not "{encoder}"'
                )
            return {**REPVIT[encoder], **given}
        if not str(encoder).startswith("repvit_"):
            raise ValueError(
                str(unknown("encoder", str(encoder), (*REPVIT, "repvit_m0_9", "repvit_m1_1", "repvit_m2_3")))
            )
        taken = [name for name in ("dims", "blocks") if given.get(name)]
        if taken:
            raise ValueError(f"{taken[0]} has no effect with encoder={encoder!r}, which is allocated by timm")
        return {**REPVIT["base"], **given, "dims": (), "blocks": ()}

    @model_validator(mode="after")
    def _known_blocks(self) -> RepViTOptions:
        for where, blocks in zip(RESOLUTIONS, self.blocks, strict=False):
            for block in blocks:
                if block not in "sb":
                    raise ValueError(f'unknown block {block!r} at {where}: "s" has squeeze-excitation, "b" has none')
        for dim in self.dims:
            if dim < 2 or dim > 1024 or dim % 2:
                raise ValueError(f"dims must be even numbers from 2 to 1024, not {dim}")
        return self


for _name, _value in REPVIT["small"].items():  # what `polzoo info repvit` shows as defaults
    RepViTOptions.model_fields[_name].default = _value
RepViTOptions.model_rebuild(force=True)
