"""Options of the update operators. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from polzoo.options import Options

Density = Annotated[float, Field(gt=0, le=1)]

DENSITY = 0.3
"""What ``flashgru`` refines where neither ``density`` nor ``top_k`` is given."""


class FlashGRUOptions(Options):
    """Options of ``flashgru``: where it works, and how."""

    tiny = {"density": 0.3, "backend": "sparse"}

    density: Density | tuple[Density, ...] | None = Field(
        default=None, description=f"share of pixels refined, one or per level, finest first; {DENSITY} without top_k"
    )
    top_k: int | None = Field(
        default=None, ge=1, description="pixels refined per sample at the finest level, a quarter at each coarser one"
    )
    threshold: float | None = Field(default=None, description="least importance of a pixel that is refined")
    importance: str = Field(default="auto", description="what says where refinement pays; polzoo list importances")
    refresh: Literal["fixed", "each-step"] = Field(
        default="fixed", description="choose the pixels once per call, or anew in every iteration"
    )
    dense_steps: int = Field(
        default=0, ge=0, description="first iterations of a call that refine everything; a start at zero needs some"
    )
    neighbours: Literal["exact", "active"] = Field(
        default="exact", description="evaluate the reset gate around active pixels too, or take it as 1 there"
    )
    backend: Literal["auto", "naive", "sparse", "triton"] = Field(
        default="auto", description="auto: triton on CUDA, else sparse, and dense where that is faster"
    )

    @model_validator(mode="after")
    def _exclusive(self) -> FlashGRUOptions:
        if self.density is not None and self.top_k is not None:
            raise ValueError("density and top_k both say how many pixels to refine; give one of them")
        if isinstance(self.density, tuple) and not self.density:
            raise ValueError("density is an empty array; give one number, or one per level")
        return self

    def execution(self, kind: str) -> str:
        """Which backend runs a cell made of known parts on a device of this kind ("cpu", "cuda", …), and why."""
        if self.backend != "auto":
            return f"{self.backend}, as asked for"
        dense = "dense where the mask saves too little of the arithmetic to be faster, and in a traced graph"
        return f"triton: on a GPU; {dense}" if kind == "cuda" else f"sparse: on a {kind.upper()}; {dense}"

    def densities(self, levels: int) -> tuple[float, ...] | None:
        """One per level, finest first; None with ``top_k``."""
        if self.top_k is not None:
            return None
        given = DENSITY if self.density is None else self.density
        return given if isinstance(given, tuple) else (given,) * levels
