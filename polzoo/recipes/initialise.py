"""Starting from other weights: each tensor is taken, widened or new, as the recipe's ``init`` says, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polzoo.errors import PolzooError, shorten
from polzoo.model import StereoModel
from polzoo.recipes.config import Init
from polzoo.recipes.patterns import matching, require_each
from polzoo.zoo import load


@dataclass(frozen=True)
class Start:
    """Where every tensor of a model came from: names in the model's order; ``widened`` with both shapes."""

    source: str
    taken: tuple[str, ...]
    widened: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    new: tuple[str, ...]

    def summary(self) -> str:
        """One line: where from, how many tensors of each kind, and which ones are not as they were."""
        grown = [f"{name} {old} → {now}" for name, (old, now) in self.widened.items()]
        counts = f"{len(self.taken)} tensors taken, {_listed('widened', grown)}, {_listed('new', self.new)}"
        return f"from {self.source}: {counts}"

    def lines(self) -> list[str]:
        """A line for every tensor: taken, widened (with both shapes) or new."""
        lines = [f"taken    {name}" for name in self.taken]
        lines += [f"widened  {name} {old} → {now}" for name, (old, now) in self.widened.items()]
        return [*lines, *(f"new      {name}" for name in self.new)]


def start_from(model: StereoModel, source: str, init: Init) -> Start:
    """Fill ``model`` with the weights of a checkpoint.

    A tensor that matches ``init.new`` keeps its fresh values. With ``init.widen = "zero"`` a weight whose inputs have
    grown by as many channels as the lookup (a fusion such as v1 appends its own to the costs) takes the old columns
    and has zeros for the new ones, so that the model computes what the source computed.

    Raises:
        PolzooError: a pattern that matches nothing; tensors that are missing, left over or misshapen, all listed.
    """
    start = load(source)
    own, theirs = model.state_dict(), start.state_dict()
    require_each("init.new", init.new, own)
    new = [name for name in own if matching(name, init.new)]
    before, grown = start.fusion.lookup_dim(), model.fusion.lookup_dim() - start.fusion.lookup_dim()
    values: dict[str, Tensor] = {}
    widened: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    faults: dict[str, list[str]] = {"missing": [], "left over": [], "misshapen": []}
    for name in own.keys() - set(new):
        if name not in theirs:
            faults["missing"].append(name)
            continue
        old, wanted = theirs[name], tuple(own[name].shape)
        if tuple(old.shape) == wanted:
            values[name] = old
        elif init.widen and _reads_lookup(tuple(old.shape), wanted, before, grown):
            values[name], widened[name] = _widen(old, before, grown), (tuple(old.shape), wanted)
        else:
            faults["misshapen"].append(f"{name} {tuple(old.shape)}, not {wanted}")
    faults["left over"] = [name for name in theirs if name not in own]
    if any(faults.values()):
        raise PolzooError(_complain(source, start, model, faults, init))
    model.load_state_dict({**own, **values})
    taken = tuple(name for name in own if name in values and name not in widened)
    return Start(source, taken, {name: widened[name] for name in own if name in widened}, tuple(new))


def _reads_lookup(old: tuple[int, ...], new: tuple[int, ...], before: int, grown: int) -> bool:
    """Whether a weight differs by the lookup's new input channels alone; a cell puts the lookup before all else."""
    if len(old) < 2 or grown <= 0:
        return False
    return new == (old[0], old[1] + grown, *old[2:]) and old[1] >= before


def _widen(old: Tensor, before: int, grown: int) -> Tensor:
    zeros = old.new_zeros(old.shape[0], grown, *old.shape[2:])
    return torch.cat([old[:, :before], zeros, old[:, before:]], 1)


def _complain(source: str, start: StereoModel, model: StereoModel, faults: Mapping[str, list[str]], init: Init) -> str:
    listed = "; ".join(_listed(what, sorted(names)) for what, names in faults.items() if names)
    parts = {name.partition(".")[0] for name in faults["missing"]}
    hint = ""
    if parts and not faults["left over"] and not faults["misshapen"]:
        wanted = ", ".join(f'"{part}.*"' for part in sorted(parts))
        hint = f". To start them fresh: new = [{wanted}]"
    elif faults["misshapen"] and not init.widen and model.fusion.lookup_dim() > start.fusion.lookup_dim():
        hint = '. To let the inputs grow: widen = "zero"'
    return f"init: {source!r} is {start.spec}, this recipe trains {model.spec}: {listed}{hint}"


def _listed(what: str, names: Iterable[str], limit: int = 6) -> str:
    names = list(names)
    shown = ", ".join(shorten(name, 90) for name in names[:limit]) + (", …" if len(names) > limit else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")
