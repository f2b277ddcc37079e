"""Options of the augmentation; imports neither numpy nor torch, so that a recipe is read at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from polzoo.options import Options

Amount = Annotated[float, Field(ge=0, le=0.9)]
Probability = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=8192)]
Factor = Annotated[float, Field(ge=0.1, le=10)]


class AugmentOptions(Options):
    """What is done to a pair before a recipe sees it: ``augment = { crop = [256, 320], scale = [0.8, 1.4] }``.

    Every default is "nothing". Amounts are the most that is drawn, evenly to either side; factors are drawn evenly in
    their logarithm.
    """

    crop: tuple[Side, Side] | None = Field(
        default=None, description="rows and columns of a random window; a smaller pair is enlarged to hold it"
    )
    scale: tuple[Factor, Factor] = Field(default=(1.0, 1.0), description="least and most of a common factor")
    stretch: tuple[Factor, Factor] = Field(
        default=(1.0, 1.0), description="least and most of a further factor across the columns alone"
    )
    flip: Probability = Field(
        default=0.0, description="probability of the mirrored pair: views exchanged, truth where both see a point"
    )
    upside_down: Probability = Field(default=0.0, description="probability that rows run from bottom to top")
    jitter: int = Field(default=0, ge=0, le=16, description="most rows that the right view is moved by, up or down")
    brightness: Amount = Field(default=0.0, description="factor on all values, 1 ± so much")
    contrast: Amount = Field(default=0.0, description="factor on the distance to the view's mean, 1 ± so much")
    gamma: Amount = Field(default=0.0, description="exponent, 1 ± so much")
    saturation: Amount = Field(default=0.0, description="factor on the distance to grey, 1 ± so much")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(default=0.0, description="part of the colour circle, ± so much")
    asymmetric: Probability = Field(
        default=0.0, description="probability that each view gets colours of its own; never where keep_ratio holds"
    )
    keep_ratio: Literal["polarized", "always", "never"] = Field(
        default="polarized",
        description="where parallel over crossed stays exact, as brightness changes alone, in both views alike: "
        "in pairs with analysers, in all, in none",
    )
    erase: Probability = Field(default=0.0, description="probability that rectangles of the right view are blanked")
    erase_side: tuple[Side, Side] = Field(default=(50, 100), description="least and most side of a rectangle, pixels")

    @model_validator(mode="after")
    def _ordered(self) -> AugmentOptions:
        for name in ("scale", "stretch", "erase_side"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from the least to the most, not from {low:g} to {high:g}")
        return self
