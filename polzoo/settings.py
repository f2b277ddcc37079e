"""How a model is run when a call does not say otherwise: stored in a checkpoint's config, readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Analysers = Literal["parallel-crossed", "crossed-parallel", "none"]

POLARITY: dict[str, float] = {"parallel-crossed": 1.0, "crossed-parallel": -1.0, "none": 0.0}
"""Analysers in front of (left, right) → the sign that every signed difference L − R is multiplied by."""


class InputBlock(BaseModel):
    """What a model expects to be fed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: str = Field(default="rgb", description="rgb, pair, or the polarization maps that the fusion declares")
    analysers: Analysers = Field(
        default="parallel-crossed", description="analysers in front of (left, right) where a call names none"
    )
    gamma: Literal["display", "linear"] = Field(
        default="display", description="intensities as displayed (gamma-coded) or linear"
    )
    angles: Literal["degrees-ccw-from-x"] = Field(
        default="degrees-ccw-from-x", description="convention of analyser angles"
    )


class Settings(BaseModel):
    """Iterations and schedules of a model.

    ``schedule_steps`` is the number of iterations it was trained with (None: whatever it is run with); α and the
    fusion's cap follow from it, see ``polzoo.interfaces.alpha``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(default=12, ge=1, le=1000)
    schedule_steps: int | None = Field(default=None, ge=1, le=1000)
    alpha_cap: float = Field(default=1.0, ge=0.0, le=1.0)
    input: InputBlock = InputBlock()
