"""The recipe ``supervised``: weighted sequence loss against the true disparity."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.interfaces import Recipe
from polzoo.model import StereoModel
from polzoo.recipes.losses import adjusted, first_loss, matching_loss, pixel_weight, sequence_loss
from polzoo.recipes.options import SupervisedOptions
from polzoo.settings import maps_of


class Supervised(Recipe):
    """Trains every parameter of ``model``; the fusion's at ``pol_lr_mult`` times the rate."""

    options: SupervisedOptions

    def __init__(self, options: SupervisedOptions, model: StereoModel) -> None:
        super().__init__()
        self.options, self.model = options, model
        if options.alpha_cap_warmup and not model.fusion.capped:
            raise PolzooError(
                f"alpha_cap_warmup has no effect: the fusion {model.spec.fusion.name!r} has no weight under a cap"
            )

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch: ``loss`` to descend on; ``epe`` (pixels, all known) and its terms to look at."""
        o = self.options
        call = {key: batch[key] for key in ("polarity", "intensity_left", "intensity_right") if key in batch}
        call["polarization"] = {name: batch[name] for name in maps_of(self.model.fusion.needs) if name in batch}
        cap = self.alpha_cap(batch.get("step", 0))
        prepared = self.model.prepare(batch["left"], batch["right"], alpha_cap=cap, **call)
        out = self.model.refine(prepared, all_iterations=True)
        weight = pixel_weight(
            batch,
            glass_weight=o.glass_weight,
            strict_weight=o.strict_weight,
            pol_weight=o.pol_weight,
            max_disparity=o.max_disparity,
        )
        gamma = adjusted(o.gamma, len(out.sequence), o.gamma_at)
        loss = sequence_loss(out.sequence, batch["disparity"], weight, gamma)
        losses = {
            "loss": loss,
            "epe": sequence_loss(out.sequence[-1:], batch["disparity"], (weight > 0).float()).detach(),
        }
        if prepared.first.requires_grad:  # a learned first disparity, such as IGEV's; a zero start has nothing to learn
            first = self.model.backbone.upsample(prepared.first, None, prepared.encoding)
            losses["first"] = first_loss(F.pad(first, [-side for side in prepared.crop]), batch["disparity"], weight)
            losses["loss"] = loss = loss + o.first_weight * losses["first"]
        if o.matching_weight:
            seen = F.pad((batch["visible"] & (weight > 0)).float(), prepared.crop)
            truth = F.pad(batch["disparity"], prepared.crop)
            losses["matching"] = matching_loss(*prepared.encoding.matching, truth, seen)
            losses["loss"] = loss + o.matching_weight * losses["matching"]
        return losses

    def parameter_groups(self) -> list[dict[str, Any]]:
        fusion = list(self.model.fusion.parameters())
        rest = [*self.model.backbone.parameters(), *self.model.update.parameters()]
        groups = [{"params": rest, "lr": self.options.lr}]
        return groups + ([{"params": fusion, "lr": self.options.lr * self.options.pol_lr_mult}] if fusion else [])

    def alpha_cap(self, step: int) -> float:
        """0.05 + 0.95 · step / ``alpha_cap_warmup``, at most 1 (spec "polarization" §4)."""
        warmup = self.options.alpha_cap_warmup
        return min(0.05 + 0.95 * step / warmup, 1.0) if warmup else 1.0
