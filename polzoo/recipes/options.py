"""Options of the training recipes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polzoo.options import Options


class SupervisedOptions(Options):
    """Loss and rates of the recipe ``supervised``; defaults from the polarization blueprints, but for the cap, which
    they warm up over 5,000 steps and which stays 1 here unless ``alpha_cap_warmup`` is given."""

    lr: float = Field(default=3e-4, gt=0, le=1, description="peak learning rate of the one-cycle schedule")
    pol_lr_mult: float = Field(default=5.0, gt=0, le=100, description="the fusion's peak rate over lr")
    weight_decay: float = Field(default=1e-5, ge=0, le=1)
    eps: float = Field(default=1e-6, gt=0, le=1, description="AdamW's epsilon")
    gamma: float = Field(default=0.9, gt=0, le=1, description="decay of the loss towards earlier iterations")
    gamma_at: int | None = Field(
        default=None, ge=2, description="iterations that gamma is meant for: n take gamma^((gamma_at - 1)/(n - 1))"
    )
    glass_weight: float = Field(default=5.0, ge=1, description="weight of glass pixels")
    strict_weight: float = Field(default=0.5, ge=0, description="added where glass is visible in both views")
    pol_weight: float = Field(default=2.0, ge=0, description="added in proportion to |L − R|")
    max_disparity: float = Field(default=700.0, gt=0, description="larger true disparities are left out, pixels")
    alpha_cap_warmup: int = Field(
        default=0, ge=0, description="steps over which the cap of a fusion's learned weight rises from 0.05 to 1"
    )
    first_weight: float = Field(
        default=1.0, ge=0, description="weight of the first disparity's loss, where it is learned"
    )
    matching_weight: float = Field(default=0.0, ge=0, description="weight of the matching loss on the features")


Norm = Literal["l1", "smooth-l1", "mse"]


class PipOptions(Options):
    """Losses and rates of the recipe ``pip``; defaults as the paper has them where it says."""

    lr: float = Field(default=2e-4, gt=0, le=1, description="peak learning rate of the one-cycle schedule")
    pol_lr_mult: float = Field(default=1.0, gt=0, le=100, description="the fusion's peak rate over lr, where trained")
    weight_decay: float = Field(default=1e-5, ge=0, le=1)
    eps: float = Field(default=1e-8, gt=0, le=1, description="AdamW's epsilon")
    cum_weight: float = Field(default=1.0, ge=0, description="weight of the cumulative-output term")
    disp_weight: float = Field(default=1.0, ge=0, description="weight of the final-disparity term")
    hid_weight: float = Field(default=1.0, ge=0, description="weight of the hidden-state term")
    cum_norm: Norm = Field(default="l1", description="of the cumulative-output term, feature pixels")
    trust: float = Field(
        default=0.0, ge=0, description="cumulative term only where the teacher is so near to the truth, pixels; 0: all"
    )
    disp_norm: Norm = Field(default="smooth-l1", description="of the final-disparity term, pixels")
    hid_norm: Norm = Field(default="mse", description="of the hidden-state term")
    truth_weight: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of the truth in the final-disparity term where it is known; the rest is the teacher's",
    )
    gamma: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="decay of the final-disparity term towards earlier iterations; 0: last only",
    )
    max_disparity: float = Field(default=700.0, gt=0, description="larger true disparities count as unknown, pixels")
    train_fusion: bool = Field(default=False, description="train the fusion too, where it says that pruning may")
    teacher: Literal["previous", "first"] = Field(
        default="previous", description="of each stage of a chain: the stage before it, or the model that was pruned"
    )
