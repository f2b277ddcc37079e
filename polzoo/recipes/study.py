"""The study of iteration pruning: how far each loss gets, on the same steps, scenes and learning rates.

All cells of a seed and a stage are trained side by side: they share each batch, what is frozen is computed once for
all of them, and so is a teacher that several have. A cell is a loss (an arm) with a learning rate; its stages follow
each other as in a chain.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from polzoo.data.loader import StepSampler, WithTruth, collate, loader
from polzoo.errors import PolzooError, unknown
from polzoo.interfaces import Cell, Dataset
from polzoo.model import Prepared, StereoModel
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
    "light, every step, right teacher": {**LIGHT, "hid_weight": 0.0, "gamma": 0.9, "trust": 1.0},
}
"""Arm → options of the recipe ``pip``. The first two see the truth alone; the others are what is to be compared."""
KEPT = "not pruned"
ARMS[KEPT] = {**TRUTH, "teacher": "first"}
"""The control: trained on the truth for as many steps, but with all iterations at every stage, and then truncated."""
RIGHT = 1.0
"""Pixels: where the model that is pruned errs by less, it counts as right."""


@dataclass(frozen=True)
class Plan:
    """What is compared on what. Scenes are spec texts of data sets; rates are peaks of the one-cycle schedule."""

    model: str
    stages: tuple[int, ...] = ()
    arms: tuple[str, ...] = tuple(arm for arm in ARMS if arm != KEPT)
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
        own = lasting(mine, self.pip.model.settings.iterations)
        self.pip.losses(batch, own, taught)["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.pip.model.update.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.scheduler.step()


PARTS: tuple[str, ...] = ("all", "right", "wrong", "apart")
Key = tuple[str, float]
Line = dict[str, Any]
Scenes = dict[str, list[dict[str, Tensor]]]
Predict = Callable[[Prepared], Iterable[Tensor]]


class Study:
    """A study in a folder: ``plan.json``, ``cells.jsonl`` with a line per cell and stage, ``stages/`` their weights.

    A line has the mean errors of a cell on the scenes of each kind, pixels: ``all`` against the truth, ``right`` and
    ``wrong`` where the model that is pruned is within :data:`RIGHT` of the truth and elsewhere, ``apart`` against that
    model itself; ``share`` is the share of the pixels at which it is right.

    Raises:
        PolzooError: another study is in the folder, stages that do not divide, an arm, a rate, a device or scenes that
            cannot be, a disk that cannot be written. What is wrong with the plan shows before anything is written.
    """

    def __init__(self, plan: Plan, out: Path, *, device: str = "cpu", say: Callable[[str], None] = print) -> None:
        self.base = load(plan.model, device=device).requires_grad_(False)
        self.plan, self.out, self.device, self.say = plan, out, torch.device(device), say
        for arm in plan.arms:
            if arm not in ARMS:
                raise unknown("loss", arm, ARMS)
        for rate in plan.rates:
            if not 0 < rate <= 1:
                raise PolzooError(f"rates: {rate:g} is no learning rate, which is above 0 and at most 1")
        if not plan.stages:
            raise PolzooError(f"{plan.model!r} takes {self.base.settings.iterations} iterations: nothing can be pruned")
        before = self.base.settings.iterations
        for k in plan.stages:
            if k < 1 or before % k or k == before:
                raise PolzooError(f"stages: {before} iterations cannot be pruned to {k}, which must divide them")
            before = k
        self.training, *measured = (
            instantiate("dataset", parse_part("dataset", text)) for text in (plan.data, plan.select, plan.report)
        )
        self.measured = dict(zip(("select", "report"), map(WithTruth, measured), strict=True))
        for dataset in (self.training, *self.measured.values()):
            dataset[0]
        self._log = out / "cells.jsonl"
        self._begin()
        self.lines = self._read()

    def run(self) -> dict[str, Any]:
        """Train and measure every cell that is not there yet; returns (and writes, ``results.json``) the summary."""
        scenes = {kind: self._scenes(dataset) for kind, dataset in self.measured.items()}
        self._untrained(scenes)
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
        found = {r: [self.lines[arm, r, 0, k]["select"]["all"] for k in self.plan.stages] for r in self.plan.rates}
        return min(found, key=lambda rate: fmean(found[rate]))

    def summary(self) -> dict[str, Any]:
        """EPE in pixels (mean and standard deviation over seeds) by arm and iterations: ``select``, and ``report`` by
        part of the scenes; ``removed``: share of the error that truncation adds and the arm takes away; ``against``:
        what it is above the first arm on the same seed; ``best``: of the arms that imitate, by the other scenes."""
        n, stages = self.base.settings.iterations, self.plan.stages
        cut, stopped = (
            {k: self.lines[name, 0.0, 0, k]["report"] for k in (n, *stages)} for name in ("truncation", "stopped")
        )
        full, arms = cut[n]["all"], {}
        chosen = {arm: self.rate(arm) for arm in self.plan.arms}
        for arm, rate in chosen.items():
            at = (n, *stages) if arm == KEPT else stages
            mine = {k: [self.lines[arm, rate, s, k] for s in range(self.plan.seeds)] for k in at}
            first = self.plan.arms[0]
            plain = {k: [self.lines[first, chosen[first], s, k] for s in range(self.plan.seeds)] for k in stages}
            arms[arm] = {
                "options": ARMS[arm],
                "rate": rate,
                "select": {k: _spread(line["select"]["all"] for line in mine[k]) for k in at},
                "report": {part: {k: _spread(line["report"][part] for line in mine[k]) for k in at} for part in PARTS},
                "removed": {
                    k: _spread(_removed(cut[k]["all"], line["report"]["all"], full) for line in mine[k]) for k in stages
                },
                "against": {
                    k: _spread(a["report"]["all"] - b["report"]["all"] for a, b in zip(mine[k], plain[k], strict=True))
                    for k in stages
                },
            }
        mixtures = [arm for arm in arms if _imitates(PipOptions(**ARMS[arm]))] or list(arms)
        best = min(mixtures, key=lambda arm: fmean(arms[arm]["select"][k]["mean"] for k in stages))
        return {
            "plan": asdict(self.plan),
            "right": cut[n]["share"],
            "truncation": {part: {k: errors[part] for k, errors in cut.items()} for part in PARTS},
            "stopped": {part: {k: errors[part] for k, errors in stopped.items()} for part in PARTS},
            "arms": arms,
            "best": best,
        }

    # ------------------------------------------------------------------------------------------------------- inside

    def _untrained(self, scenes: Scenes) -> None:
        """The base with fewer iterations, and the base stopped after so many of all. These differ where a fusion's
        weight follows the number of iterations, as V2C's does."""
        at = (self.base.settings.iterations, *self.plan.stages)

        def stopped(shared: Prepared) -> list[Tensor]:
            sequence = self.base.refine(lasting(shared, at[0]), all_iterations=True).sequence
            return [sequence[k - 1] for k in at]

        truncated = _refined([self._model(self.base.update, k) for k in at])
        for name, predict in (("truncation", truncated), ("stopped", stopped)):
            keys = [(name, 0.0, 0, k) for k in at]
            if not self.lines.keys() >= set(keys):
                self._write(self._measure(keys, predict, scenes))

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
        n = self.base.settings.iterations
        each = [(key, k) for key in done] + [(key, n) for key in done if key[0] == KEPT]
        models = [self._model(done[key], iterations) for key, iterations in each]
        lines = self._measure([(*key, seed, iterations) for key, iterations in each], _refined(models), scenes)
        tensors = {f"{a}/{r:g}/{n}": x for (a, r), cell in done.items() for n, x in cell.state_dict().items()}
        write_bytes(kept, pack({name: x.cpu().contiguous() for name, x in tensors.items()}))
        self._write([{**line, "seconds": round(spent, 1)} for line in lines])
        self.say(f"seed {seed}, {k} iterations: {len(done)} cells, {spent:.0f} s each")
        return done

    def _student(self, key: Key, k: int, index: int, before: Cell) -> _Trained:
        options, n = PipOptions(**ARMS[key[0]], lr=key[1]), self.base.settings.iterations
        previous = options.teacher == "previous" and index > 0
        teacher = self._model(before, self.plan.stages[index - 1]) if previous else self._model(self.base.update, n)
        pip = Pip(options, self._model(copy.deepcopy(before), n if key[0] == KEPT else k), teacher).train()
        optimizer = AdamW(pip.parameter_groups(), weight_decay=options.weight_decay, eps=options.eps)
        total = self.plan.steps + 10
        scheduler = OneCycleLR(optimizer, key[1], total, pct_start=0.05, anneal_strategy="linear", cycle_momentum=False)
        return _Trained(*key, pip, optimizer, scheduler)

    def _train(self, students: Sequence[_Trained], order: int) -> None:
        sampler = StepSampler(len(self.training), self.plan.batch_size, order, range(self.plan.steps))
        began, often = time.monotonic(), max(1, self.plan.steps // 10)
        for step, batch in enumerate(loader(self.training, sampler, self.plan.workers), 1):
            batch = {name: value.to(self.device) for name, value in batch.items()}
            mine, taught = students[0].pip.prepare(batch), {}
            for student in students:
                teacher = id(student.pip.guide.update), student.pip.steps
                if teacher not in taught:
                    taught[teacher] = student.pip.taught(batch, mine)
                student.step(batch, mine, taught[teacher])
            if step % often == 0:
                pace = (time.monotonic() - began) / step
                self.say(f"step {step}/{self.plan.steps} of {len(students)} cells, {pace:.2f} s each")

    @torch.no_grad()
    def _measure(self, keys: Sequence[tuple], predict: Predict, scenes: Scenes) -> list[Line]:
        lines: list[Line] = [dict(zip(("arm", "rate", "seed", "iterations"), key, strict=True)) for key in keys]
        for kind, batches in scenes.items():
            sums: list[dict[str, tuple[float, int]]] = [dict.fromkeys((*PARTS, "share"), (0.0, 0)) for _ in keys]
            for batch in batches:
                for found, total in zip(predict(prepare(self.base, batch)), sums, strict=True):
                    for part, error, count in _errors(found, batch):
                        total[part] = total[part][0] + error, total[part][1] + count
            for line, total in zip(lines, sums, strict=True):
                line[kind] = {part: error / count if count else None for part, (error, count) in total.items()}
        return lines

    @torch.no_grad()
    def _scenes(self, dataset: Dataset) -> list[dict[str, Tensor]]:
        """Scenes one by one, with what the model that is pruned makes of them: ``taught``."""
        base = self.base.eval()
        batches = [collate([dataset[index]]) for index in range(len(dataset))]
        batches = [{name: value.to(self.device) for name, value in batch.items()} for batch in batches]
        return [{**batch, "taught": base.refine(prepare(base, batch)).disparity} for batch in batches]

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


def _refined(models: Sequence[StereoModel]) -> Predict:
    return lambda shared: (model.refine(lasting(shared, model.settings.iterations)).disparity for model in models)


def _errors(found: Tensor, batch: dict[str, Tensor]) -> Iterator[tuple[str, float, int]]:
    """Every part of a scene, the sum of its pixels' errors and their number."""
    truth, taught, known = batch["disparity"], batch["taught"], batch["valid"]
    right = known & ((taught - truth).abs() < RIGHT)
    for part, wanted, mask in zip(
        PARTS, (truth, truth, truth, taught), (known, right, known & ~right, known), strict=True
    ):
        yield part, float((found - wanted)[mask].abs().double().sum()), int(mask.sum())
    yield "share", int(right.sum()), int(known.sum())


def _imitates(options: PipOptions) -> bool:
    return bool(options.cum_weight or options.hid_weight) or options.truth_weight < 1


def _spread(values: Iterable[float | None]) -> dict[str, float | None] | None:
    found = [value for value in values if value is not None]
    return {"mean": fmean(found), "sd": stdev(found) if len(found) > 1 else None} if found else None


def _removed(cut: float, found: float, full: float) -> float:
    return (cut - found) / (cut - full) if cut != full else 0.0
