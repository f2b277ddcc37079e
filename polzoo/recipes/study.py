"""The study of iteration pruning: how far each loss gets, on the same steps, scenes and learning rates.

All cells of a seed and a stage are trained side by side: they share each batch, what is frozen is computed once for
all of them, and so is a teacher that several have. A cell is a loss (an arm) with a learning rate; its stages follow
each other as in a chain.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from polzoo.data.files import read_bytes, write_bytes
from polzoo.data.loader import StepSampler, collate, loader
from polzoo.errors import PolzooError, unknown
from polzoo.interfaces import Cell
from polzoo.model import StereoModel
from polzoo.names import effective, find
from polzoo.recipes import state
from polzoo.recipes.options import PipOptions
from polzoo.recipes.pip import Pip, lasting, prepare
from polzoo.spec import parse_part
from polzoo.zoo import instantiate, load

TRUTH, LIGHT = {"cum_weight": 0.0, "hid_weight": 0.0}, {"cum_weight": 0.1, "hid_weight": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "fine-tuning": TRUTH,
    "fine-tuning, every step": {**TRUTH, "gamma": 0.9},
    "paper": {},
    "paper, teacher's disparity": {"truth_weight": 0.0},
    "no hidden state": {"hid_weight": 0.0},
    "first teacher": {"teacher": "first"},
    "smooth-L1 sum": {"cum_norm": "smooth-l1"},
    "squared sum": {"cum_norm": "mse"},
    "half truth": {"truth_weight": 0.5},
    "right teacher": {"trust": 1.0},
    "right teacher, no hidden state": {"trust": 1.0, "hid_weight": 0.0},
    "every step": {"gamma": 0.9, "hid_weight": 0.0},
    "every step, right teacher": {"gamma": 0.9, "hid_weight": 0.0, "trust": 1.0},
    "light": LIGHT,
    "light, no hidden state": {**LIGHT, "hid_weight": 0.0},
    "light, first teacher": {**LIGHT, "teacher": "first"},
    "light, every step": {**LIGHT, "gamma": 0.9},
}
"""Arm → options of the recipe ``pip``. The first two see the truth alone; the others are what is to be compared."""


@dataclass(frozen=True)
class Plan:
    """What is compared on what. Scenes are spec texts of data sets; rates are peaks of the one-cycle schedule."""

    model: str
    stages: tuple[int, ...] = ()
    arms: tuple[str, ...] = tuple(ARMS)
    rates: tuple[float, ...] = (1e-4, 3e-4)
    seeds: int = 3
    steps: int = 200
    batch_size: int = 2
    data: str = "synthetic(seed=41,length=100000,height=128,width=256)"
    select: str = "synthetic(seed=8001,length=24,height=128,width=256)"
    report: str = "synthetic(seed=9001,length=48,height=128,width=256)"
    workers: int = 1


def halvings(plan: Plan) -> Plan:
    """The plan with stages of half the iterations each, as long as they can be halved."""
    n, stages = effective(find(plan.model)).settings.iterations, []
    while n % 2 == 0:
        n //= 2
        stages.append(n)
    return replace(plan, stages=tuple(stages))


@dataclass
class _Trained:
    """One cell while a stage lasts."""

    arm: str
    rate: float
    pip: Pip
    optimizer: AdamW
    scheduler: OneCycleLR

    def step(self, batch: dict[str, Tensor], mine: Any, taught: Any) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.pip.losses(batch, mine, taught)["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.pip.model.update.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.scheduler.step()


Key = tuple[str, float]
Line = dict[str, Any]
Scenes = dict[str, list[dict[str, Tensor]]]


class Study:
    """A study in a folder: ``plan.json``, ``cells.jsonl`` with a line per cell and stage, ``stages/`` their weights.

    Raises:
        PolzooError: another study is in the folder, stages that do not divide, a disk that cannot be written.
    """

    def __init__(self, plan: Plan, out: Path, *, device: str = "cpu", say: Callable[[str], None] = print) -> None:
        self.plan, self.out, self.device, self.say = plan, out, torch.device(device), say
        self.base = load(plan.model, device=device).requires_grad_(False)
        for arm in plan.arms:
            if arm not in ARMS:
                raise unknown("loss", arm, ARMS)
        if not plan.stages:
            raise PolzooError(f"{plan.model!r} takes {self.base.settings.iterations} iterations: nothing can be pruned")
        before = self.base.settings.iterations
        for k in plan.stages:
            if before % k or k == before:
                raise PolzooError(f"stages: {before} iterations cannot be pruned to {k}, which must divide them")
            before = k
        self._log = out / "cells.jsonl"
        self._begin()
        self.lines = self._read()

    def run(self) -> dict[str, Any]:
        """Train and measure every cell that is not there yet; returns (and writes, ``results.json``) the summary."""
        scenes = {kind: self._scenes(getattr(self.plan, kind)) for kind in ("select", "report")}
        n = self.base.settings.iterations
        plain = [k for k in (n, *self.plan.stages) if ("truncation", 0.0, 0, k) not in self.lines]
        if plain:
            models = [self._model(self.base.update, k) for k in plain]
            self._write(self._measure([("truncation", 0.0, 0, k) for k in plain], models, scenes))
        for seed in range(self.plan.seeds):  # the first tries every rate, the others the one that was chosen by it
            rates = {arm: self.plan.rates if seed == 0 else (self.rate(arm),) for arm in self.plan.arms}
            keys = [(arm, rate) for arm in self.plan.arms for rate in rates[arm]]
            cells: dict[Key, Cell] = dict.fromkeys(keys, self.base.update)
            for index, k in enumerate(self.plan.stages):
                cells = self._stage(seed, index, k, cells, scenes)
        found = self.summary()
        write_bytes(self.out / "results.json", (json.dumps(found, indent=1) + "\n").encode())
        return found

    def rate(self, arm: str) -> float:
        """The learning rate with the least error of the first seed on the scenes for selection, over all stages."""
        return min(self.plan.rates, key=lambda r: fmean(self.lines[arm, r, 0, k]["select"] for k in self.plan.stages))

    def summary(self) -> dict[str, Any]:
        """EPE in pixels (mean and standard deviation over seeds) by arm and iterations, on the scenes for the report;
        ``removed``: share of the error that truncation adds and the arm takes away; ``best``: by the other scenes."""
        n, stages = self.base.settings.iterations, self.plan.stages
        cut = {k: self.lines["truncation", 0.0, 0, k] for k in (n, *stages)}
        arms = {}
        for arm in self.plan.arms:
            mine = {k: [self.lines[arm, self.rate(arm), s, k] for s in range(self.plan.seeds)] for k in stages}
            arms[arm] = {
                "options": ARMS[arm],
                "rate": self.rate(arm),
                "select": {k: _spread(line["select"] for line in mine[k]) for k in stages},
                "report": {k: _spread(line["report"] for line in mine[k]) for k in stages},
                "removed": {
                    k: _spread(_removed(cut[k]["report"], line["report"], cut[n]["report"]) for line in mine[k])
                    for k in stages
                },
            }
        chosen = min(arms, key=lambda arm: fmean(arms[arm]["select"][k]["mean"] for k in stages))
        truncation = {k: line["report"] for k, line in cut.items()}
        return {"plan": asdict(self.plan), "truncation": truncation, "arms": arms, "best": chosen}

    # ------------------------------------------------------------------------------------------------------- inside

    def _stage(self, seed: int, index: int, k: int, before: dict[Key, Cell], scenes: Scenes) -> dict[Key, Cell]:
        """The cells after a stage: trained and measured, or read where they were."""
        kept = self.out / "stages" / f"seed{seed}-k{k}.safetensors"
        students = [self._student(key, k, index, cell) for key, cell in before.items()]
        done = {(c.arm, c.rate): c.pip.model.update for c in students}
        if kept.exists() and all((*key, seed, k) in self.lines for key in before):
            tensors = unpack(kept.read_bytes())
            for key, cell in done.items():
                cell.load_state_dict({name: tensors[f"{key[0]}/{key[1]:g}/{name}"] for name in cell.state_dict()})
            return done
        began = time.monotonic()
        self._train(students, seed * len(self.plan.stages) + index)
        spent = (time.monotonic() - began) / len(students)
        models = [self._model(cell, k) for cell in done.values()]
        lines = self._measure([(*key, seed, k) for key in done], models, scenes)
        tensors = {f"{a}/{r:g}/{n}": x for (a, r), cell in done.items() for n, x in cell.state_dict().items()}
        write_bytes(kept, pack({name: x.cpu().contiguous() for name, x in tensors.items()}))
        self._write([{**line, "seconds": round(spent, 1)} for line in lines])
        self.say(f"seed {seed}, {k} iterations: {len(done)} cells, {spent:.0f} s each")
        return done

    def _student(self, key: Key, k: int, index: int, before: Cell) -> _Trained:
        options, n = PipOptions(**ARMS[key[0]], lr=key[1]), self.base.settings.iterations
        previous = options.teacher == "previous" and index > 0
        teacher = self._model(before, self.plan.stages[index - 1]) if previous else self._model(self.base.update, n)
        pip = Pip(options, self._model(copy.deepcopy(before), k), teacher).train()
        optimizer = AdamW(pip.parameter_groups(), weight_decay=options.weight_decay, eps=options.eps)
        total = self.plan.steps + 10
        scheduler = OneCycleLR(optimizer, key[1], total, pct_start=0.05, anneal_strategy="linear", cycle_momentum=False)
        return _Trained(*key, pip, optimizer, scheduler)

    def _train(self, students: Sequence[_Trained], order: int) -> None:
        dataset = instantiate("dataset", parse_part("dataset", self.plan.data))
        sampler = StepSampler(len(dataset), self.plan.batch_size, order, range(self.plan.steps))
        began, often = time.monotonic(), max(1, self.plan.steps // 10)
        for step, batch in enumerate(loader(dataset, sampler, self.plan.workers), 1):
            batch = {name: value.to(self.device) for name, value in batch.items()}
            mine, taught = students[0].pip.prepare(batch), {}
            for student in students:
                teacher = id(student.pip.guide.update)
                if teacher not in taught:
                    taught[teacher] = student.pip.taught(batch, mine)
                student.step(batch, mine, taught[teacher])
            if step % often == 0:
                pace = (time.monotonic() - began) / step
                self.say(f"step {step}/{self.plan.steps} of {len(students)} cells, {pace:.2f} s each")

    @torch.no_grad()
    def _measure(self, keys: Sequence[tuple], models: Sequence[StereoModel], scenes: Scenes) -> list[Line]:
        lines: list[Line] = [dict(zip(("arm", "rate", "seed", "iterations"), key, strict=True)) for key in keys]
        for kind, batches in scenes.items():
            error, count = [0.0] * len(models), 0
            for batch in batches:
                shared, known = prepare(models[0], batch), batch["valid"]
                count += int(known.sum())
                for index, model in enumerate(models):
                    found = model.refine(lasting(shared, model.settings.iterations)).disparity
                    error[index] += float((found - batch["disparity"])[known].abs().double().sum())
            for line, total in zip(lines, error, strict=True):
                line[kind] = total / count
        return lines

    def _scenes(self, data: str) -> list[dict[str, Tensor]]:
        dataset = instantiate("dataset", parse_part("dataset", data))
        batches = [collate([dataset[index]]) for index in range(len(dataset))]
        return [{name: value.to(self.device) for name, value in batch.items()} for batch in batches]

    def _model(self, cell: Cell, iterations: int) -> StereoModel:
        """The base with another cell; everything else is shared."""
        base, settings = self.base, self.base.settings.model_copy(update={"iterations": iterations})
        return StereoModel(base.spec, base.backbone, base.fusion, cell, base.operator, settings).eval()

    def _begin(self) -> None:
        weights = effective(find(self.plan.model)).weights_sha256
        note, plan = self.out / "plan.json", json.loads(json.dumps({**asdict(self.plan), "weights": weights}))
        if note.exists():
            state.same(json.loads(read_bytes(note)), plan, self.out)
        else:
            write_bytes(note, (json.dumps(plan, indent=1) + "\n").encode())

    def _read(self) -> dict[tuple, Line]:
        texts = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        lines = [json.loads(text) for text in texts if text.endswith("\n")]  # a kill cuts the last
        return {_key(line): line for line in lines}

    def _write(self, lines: Sequence[Line]) -> None:
        self.lines |= {_key(line): line for line in lines}
        write_bytes(self._log, "".join(json.dumps(line) + "\n" for line in self.lines.values()).encode())


def _key(line: Line) -> tuple:
    return line["arm"], line["rate"], line["seed"], line["iterations"]


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = list(values)
    return {"mean": fmean(found), "sd": stdev(found) if len(found) > 1 else 0.0}


def _removed(cut: float, found: float, full: float) -> float:
    return (cut - found) / (cut - full) if cut != full else 0.0
