"""A model made ready to be measured: its form, its pair, and one call per number of iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polzoo.errors import PolzooError, one_line
from polzoo.evaluation.benchmark_pair import pair
from polzoo.evaluation.benchmark_result import Form, Setting
from polzoo.evaluation.subject import open_subject
from polzoo.model import StereoModel
from polzoo.weights import place


class Ready:
    """A subject in one form on one device, with the pair it runs on.

    Args:
        text: a checkpoint's name or a spec.
        form: ``inference``: BatchNorm folded and so on; ``compiled``: that, compiled; ``plain``: as it is trained.
        iterations: the model's own where None.
    """

    def __init__(self, text: str, form: Form, setting: Setting, iterations: int | None) -> None:
        self.form: Form = form
        self.name, trainable, self.weights = open_subject(text, setting.seed)
        self.model: StereoModel = trainable if form == "plain" else trainable.fuse()
        place(self.model, setting.device, "float32" if form == "plain" else setting.dtype)
        self.iterations = iterations or trainable.settings.iterations
        self.trainable = trainable
        like = next(self.model.parameters())
        self.pair = tuple(view.to(like.device, like.dtype) for view in pair(setting))
        self._call: Callable[..., Any] = torch.compile(self.model) if form == "compiled" else self.model

    @property
    def title(self) -> str:
        """Its name, and the form where that is not the one that people run."""
        return self.name if self.form == "inference" else f"{self.name} ({self.form})"

    def run(self, iterations: int | None = None) -> Tensor:
        """The disparity after so many iterations; a PolzooError where the model cannot run or be compiled."""
        try:
            return self._call(*self.pair, iterations=iterations or self.iterations).disparity
        except PolzooError:
            raise
        except Exception as error:
            if self.form == "compiled" or isinstance(error, torch.OutOfMemoryError):
                raise PolzooError(f"{self.title} cannot run: {one_line(error)}") from error
            raise

    def plain_run(self, iterations: int | None = None) -> Tensor:
        """:meth:`run`, never compiled: what can be watched from inside."""
        return self.model(*self.pair, iterations=iterations or self.iterations).disparity

    def parameters(self) -> dict[str, int]:
        """Parameters of the trainable form: in all, of its three parts, and of the modules directly in these."""
        parts = {"backbone": self.trainable.backbone, "fusion": self.trainable.fusion, "cell": self.trainable.update}
        modules = {"total": self.trainable, **parts}
        for kind, part in parts.items():
            modules |= {f"{kind}.{name}": child for name, child in part.named_children()}
        return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
