"""What polzoo sees of this package: one fusion and its options. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from polzoo import hookimpl
from polzoo.hookspecs import Register
from polzoo.options import Options


class EfficientAttentionOptions(Options):
    """Options of ``eac``."""

    tiny = {"width": 4}

    width: int = Field(default=64, ge=1, le=1024, description="channels inside the polarization encoder")


@hookimpl
def fusions(register: Register) -> None:
    register(
        "eac",
        "polzoo_stokes.fusion:EfficientAttentionFusion",
        config="polzoo_stokes.plugin:EfficientAttentionOptions",
        summary="DoLP and AoLP join the matching features by efficient channel attention (EAFNet, Xiang et al. 2021)",
        licence="MIT",
    )
