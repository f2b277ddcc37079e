"""Every combination as one graph: compiled, and exported for any height and width."""

from __future__ import annotations

from typing import Any

import torch

from polzoo.export import Exportable, export
from polzoo.settings import maps_of
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.subjects import SIZE, Combination, apart, near


@rule("model", slow=True)
def compiles(model: Combination) -> None:
    """``torch.compile(fullgraph=True)`` makes one graph of the model, with its outputs, for any height and width; under
    another update operator than the backbone's own, which may refine a number of pixels, one for each size.

    Look for Python that reads a tensor's value (``.item()``, ``.tolist()``, ``if tensor:``, ``float(tensor)``), and for
    branches on sizes and identities, each of which is compiled anew.
    """
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    _compare(model, torch.compile(_exportable(model), backend=keep, fullgraph=True))
    require(len(graphs) == 1 or not model.keeps_defaults("update"), f"{len(graphs)} were made for two sizes")


@rule("model", slow=True)
def exports(model: Combination) -> None:
    """``polzoo.export.export`` makes one graph for any height and width, which gives the model's outputs.

    Look for sizes that Python turns into plain numbers, and for branches on a size.
    """
    if not model.keeps_defaults("update"):
        skip("models are exported under the backbone's own operator: another one may refine a number of pixels")
    _exportable(model)
    _compare(model, export(model.model, iterations=1, batch=2).module())


def _exportable(model: Combination) -> Exportable:
    if maps_of(model.model.fusion.needs):
        skip("the exported form takes left, right and polarity, and this fusion needs more maps")
    return Exportable(model.model, iterations=1)


def _compare(model: Combination, graph: Any) -> None:
    """Outputs of a graph of the model, batch 2, at two sizes, one of them in need of padding."""
    with torch.no_grad():
        for size in ((101, 135), SIZE):
            inputs = list(model.inputs(2, *size).values())
            for view in inputs[:2]:
                for side in (2, 3):
                    torch._dynamo.mark_dynamic(view, side)
            found, wanted = graph(*inputs), _exportable(model)(*inputs)
            require(near(found, wanted, 1e-4), f"at {size[0]}×{size[1]} it differs by {apart(found, wanted):.2g} px")
