"""A model as a graph: ``(left, right, polarity) → disparity``, for any height and width.

::

    program = export(polzoo.load("polstereo-nano", fuse=True), iterations=8)
    torch.export.save(program, "nano.pt2")
    disparity = program.module()(left, right, polarity)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from polzoo.errors import PolzooError
from polzoo.model import StereoModel
from polzoo.settings import maps_of


class Exportable(nn.Module):
    """A model of fixed iterations whose arguments and result are tensors."""

    def __init__(self, model: StereoModel, iterations: int | None = None) -> None:
        super().__init__()
        self.model, self.iterations = model, iterations

    def forward(self, left: Tensor, right: Tensor, polarity: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] twice and (B,) of +1, 0, −1, which is not checked → (B, 1, H, W), pixels."""
        return self.model(left, right, polarity=polarity, iterations=self.iterations).disparity


def export(model: StereoModel, *, iterations: int | None = None, batch: int = 1) -> ExportedProgram:
    """The graph of a model in eval mode; height and width are free, padding is part of it.

    Args:
        iterations: per pass; default from the model's settings.
        batch: pairs that the graph takes at once.

    Raises:
        PolzooError: a model in training mode, or one whose fusion needs further polarization maps.
    """
    if model.training:
        raise PolzooError("export() needs a model in eval mode: call model.eval() first")
    if maps := maps_of(model.fusion.needs):
        raise PolzooError(f"export() takes left, right and polarity; this fusion needs {', '.join(maps)} too")
    weight = next(model.parameters())
    height, width = (3 * model.backbone.multiple + n for n in (5, 39))  # in need of padding: the general case
    left, right = torch.rand(2, batch, 3, height, width, device=weight.device).unbind(0)
    polarity = torch.ones(batch, device=weight.device)
    free = {2: Dim.AUTO, 3: Dim.AUTO}
    with torch.no_grad():
        return torch.export.export(
            Exportable(model, iterations), (left, right, polarity), dynamic_shapes=(free, free, None)
        )
