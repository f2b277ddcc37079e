"""The recipe ``pip``: progressive iteration pruning, a student of K iterations that imitates a teacher of N = s·K.

Source: "Pip-Stereo" (PIP), whose code is not public; the terms are the reconstruction in :class:`Pip`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.interfaces import Recipe, StereoOutput, Trace
from polzoo.model import Prepared, StereoModel
from polzoo.recipes.losses import over_processes
from polzoo.recipes.options import PipOptions
from polzoo.settings import maps_of

NORMS: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "mse": F.mse_loss}


class Pip(Recipe):
    """Trains the update cell of ``model`` (and its fusion, where ``train_fusion``); all else is the teacher's, frozen.

    With the student's increments ô_j and hidden states ĥ_k, and the teacher's disparity d and state h after s·k steps:

    * cumulative output: mean over k of ‖d_0 + Σ_{j≤k} ô_j − d_sk‖, feature pixels. Gradients reach every ô_j of the
      sum, while the disparity that the next lookup sees is detached. With ``trust``, over the pixels alone at which
      the teacher is right.
    * final disparity, full size, pixels: against the truth, or the teacher's where that is unknown, and against the
      teacher's everywhere, as ``truth_weight`` shares it out. With ``gamma`` the earlier ones, too, against the truth
      only where it is known.
    * hidden state: mean over k and levels of ‖ĥ_k − h_sk‖.

    Features, volume and first disparity are computed once for both. Of the teacher's N steps the K that are imitated
    are kept. A fusion of several passes takes N and K steps in each.

    Raises:
        PolzooError: a teacher of another backbone or fusion, or whose iterations the student's do not divide;
            ``train_fusion`` for a fusion that pruning may not train; weights of losses that are all 0.
    """

    teacher, needs_truth = True, False
    options: PipOptions

    def __init__(self, options: PipOptions, model: StereoModel, teacher: StereoModel) -> None:
        super().__init__()
        _same_spec(model, teacher)
        n, k = teacher.settings.iterations, model.settings.iterations
        if n % k:
            raise PolzooError(f"iterations = {k} does not divide the {n} of the teacher; prune {n} to {n}/2, {n}/4, …")
        if options.train_fusion and not model.fusion.trainable_in_pip:
            raise PolzooError(f"train_fusion: the fusion {model.spec.fusion.name!r} is not trainable in pruning")
        if not (options.cum_weight or options.disp_weight or options.hid_weight):
            raise PolzooError("cum_weight, disp_weight and hid_weight are all 0, so there is nothing to learn")
        model.settings = teacher.settings.model_copy(update={"iterations": k})  # α keeps the N trained with
        self.options, self.model, self.steps = options, model, n // k
        self.trained = [model.update, *([model.fusion] if options.train_fusion else [])]
        model.backbone.load_state_dict(teacher.backbone.state_dict())
        teacher.backbone = model.backbone
        if not options.train_fusion:
            model.fusion.load_state_dict(teacher.fusion.state_dict())
            teacher.fusion = model.fusion
        self.guide = teacher.requires_grad_(False)
        model.requires_grad_(False)
        for module in self.trained:
            module.requires_grad_(True)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch: ``loss`` to descend on; its terms ``cum``, ``disp``, ``hid``; and ``epe``, pixels, against
        the teacher's disparity where a batch has no truth at all."""
        mine = self.prepare(batch)
        return self.losses(batch, mine, self.taught(batch, mine))

    def losses(self, batch: dict[str, Any], mine: Prepared, wanted: StereoOutput) -> dict[str, Tensor]:
        """:meth:`forward` on a pair that is prepared, with what the teacher made of it."""
        o = self.options
        found = self.model.refine(mine, trace=True, all_iterations=o.gamma > 0)
        known = batch["valid"] & (batch["disparity"] < o.max_disparity)
        truth = torch.where(known, batch["disparity"], wanted.disparity)
        outputs = found.sequence or (found.disparity,)
        losses = {
            "cum": _mean(
                self._cumulative(mine.start[1], found.trace, wanted.trace, self._trusted(mine, truth, wanted))
            ),
            "disp": _decayed(
                [
                    *(self._final(d, truth, wanted.disparity, known) for d in outputs[:-1]),
                    self._final(found.disparity, truth, wanted.disparity, known=torch.ones_like(known)),
                ],
                o.gamma,
            ),
            "hid": _mean(
                NORMS[o.hid_norm](a.float(), b.float())
                for one, other in zip(found.trace, wanted.trace, strict=True)
                for a, b in zip(one.hidden, other.hidden, strict=True)
            ),
        }
        total = o.cum_weight * losses["cum"] + o.disp_weight * losses["disp"] + o.hid_weight * losses["hid"]
        return {"loss": total, **losses, "epe": _error(found.disparity.detach(), truth, known)}

    def prepare(self, batch: dict[str, Any]) -> Prepared:
        """What does not depend on the cell: for the student, and unless a fusion is trained for the teacher too."""
        with torch.set_grad_enabled(self.options.train_fusion and torch.is_grad_enabled()):
            return prepare(self.model, batch)

    @torch.no_grad()
    def taught(self, batch: dict[str, Any], mine: Prepared) -> StereoOutput:
        """What the teacher makes of the pair; its trace has the K steps that are imitated."""
        if self.options.train_fusion:
            mine = prepare(self.guide, batch)
        return self.guide.refine(lasting(mine, self.guide.settings.iterations), trace=self.steps)

    def parameter_groups(self) -> list[dict[str, Any]]:
        rates = self.options.lr, self.options.lr * self.options.pol_lr_mult
        groups = [{"params": list(m.parameters()), "lr": lr} for m, lr in zip(self.trained, rates, strict=False)]
        return [group for group in groups if group["params"]]

    def alpha_cap(self, step: int) -> float:
        """The teacher's: pruning leaves the polarization schedule as it was trained."""
        return self.model.settings.alpha_cap

    def train(self, mode: bool = True) -> Pip:
        super().train(False)  # frozen statistics stay what they are
        self.training = mode
        for module in self.trained:
            module.train(mode)
        return self

    def _trusted(self, mine: Prepared, truth: Tensor, wanted: StereoOutput) -> Tensor:
        """(B, 1, h, w): 1 where the teacher ends near the truth, wherever that is known in the cell, else 0."""
        limit, start = self.options.trust, mine.start[1]
        if not limit:
            return torch.ones_like(start)
        wrong = F.pad(((wanted.disparity - truth).abs() > limit).float(), mine.crop)
        return 1 - F.max_pool2d(wrong, wrong.shape[-1] // start.shape[-1])

    def _cumulative(
        self, start: Tensor, found: Iterable[Trace], wanted: Iterable[Trace], weight: Tensor
    ) -> Iterable[Tensor]:
        total = over_processes(weight.sum()).clamp_min(1e-6)
        for one, other in zip(found, wanted, strict=True):
            start = start + one.delta.float()
            error = NORMS[self.options.cum_norm](start, other.disparity, reduction="none")
            yield (weight * error).sum() / total

    def _final(self, disparity: Tensor, truth: Tensor, taught: Tensor, known: Tensor) -> Tensor:
        """Of one full-size disparity; ``truth`` is the teacher's where it is unknown, and counts where ``known``."""
        share, norm = self.options.truth_weight, NORMS[self.options.disp_norm]
        return share * (known * norm(disparity, truth, reduction="none")).mean() + (1 - share) * norm(disparity, taught)


def prepare(model: StereoModel, batch: dict[str, Any]) -> Prepared:
    """A batch up to the loops of a model."""
    call = {key: batch[key] for key in ("polarity", "intensity_left", "intensity_right") if key in batch}
    call["polarization"] = {name: batch[name] for name in maps_of(model.fusion.needs) if name in batch}
    return model.prepare(batch["left"], batch["right"], **call)


def lasting(prepared: Prepared, iterations: int) -> Prepared:
    """The same pair for another number of iterations; what was computed is shared."""
    return replace(prepared, call=replace(prepared.call, iterations=iterations))


def _mean(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()


def _decayed(losses: Sequence[Tensor], gamma: float) -> Tensor:
    """Σ γ^(n−1−i) · loss_i: the last of n losses has weight 1."""
    return torch.stack([gamma ** (len(losses) - 1 - i) * loss for i, loss in enumerate(losses)]).sum()


def _error(disparity: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean distance over the known pixels of all processes; over all pixels where none is known."""
    known = torch.where(over_processes(known.sum().float()) > 0, known, True)
    return (known * (disparity - truth).abs()).sum() / over_processes(known.sum().float())


def _same_spec(model: StereoModel, teacher: StereoModel) -> None:
    for kind in ("backbone", "fusion"):
        if getattr(model.spec, kind) != getattr(teacher.spec, kind):
            raise PolzooError(f"the teacher is {teacher.spec}, the student {model.spec}: one {kind} is needed for both")
