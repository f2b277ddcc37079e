"""Options of the training recipes."""

from __future__ import annotations

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
    freeze_bn: tuple[str, ...] = Field(default=(), description="module prefixes whose BatchNorm stays in eval mode")
