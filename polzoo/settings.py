"""How a model is run when a call does not say otherwise: stored in a checkpoint's config, readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Analysers = Literal["parallel-crossed", "crossed-parallel", "none"]

POLARITY: dict[str, float] = {"parallel-crossed": 1.0, "crossed-parallel": -1.0, "none": 0.0}
"""Analysers in front of (left, right) → the sign that every signed difference L − R is multiplied by."""


def maps_of(needs: str) -> tuple[str, ...]:
    """The maps that a fusion's ``needs`` names: "dolp,aolp" → dolp_left, dolp_right, aolp_left, aolp_right."""
    if needs in ("rgb", "pair"):
        return ()
    return tuple(f"{name.strip()}_{side}" for name in needs.split(",") for side in ("left", "right"))


class InputBlock(BaseModel):
    """What a model expects to be fed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: str = Field(default="rgb", description="rgb, pair, or polarization maps as the fusion declares: dolp,aolp")
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
    fusion's cap follow from it, see :func:`alpha`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(default=12, ge=1, le=1000)
    schedule_steps: int | None = Field(default=None, ge=1, le=1000)
    alpha_cap: float = Field(default=1.0, ge=0.0, le=1.0)
    input: InputBlock = InputBlock()


def alpha(index: int, iterations: int, trained: int, schedule: str) -> float:
    """Weight of polarization at iteration ``index`` of ``iterations`` (spec "polarization" §5).

    ``literal``: the blueprint's i / max(N − 1, 1), 0 for a single iteration. ``aligned``: a step stands for the window
    of the ``trained`` iterations that ends with it, so a model pruned to one iteration sees α = 1.
    """
    if schedule == "literal":
        return index / max(iterations - 1, 1)
    if trained == 1:
        return 1.0
    return min(max(((index + 1) * trained / iterations - 1) / (trained - 1), 0.0), 1.0)
