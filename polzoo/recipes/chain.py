"""Progressive pruning as a whole: 32 → 16 → 8 → 4 → 2 → 1, each stage a run of the engine that starts from the last.

A chain's folder holds ``recipe.toml``, a run ``p1``, ``p2``, … for each stage, and the stages' checkpoints, which store
what differs from the model that was pruned.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import torch
from accelerate import PartialState

from polzoo import checkpoint, processes
from polzoo.config import RECIPE, read_config
from polzoo.data.files import read_bytes, write_bytes
from polzoo.errors import PolzooError
from polzoo.names import find
from polzoo.recipes import state
from polzoo.recipes.config import Init, TrainingConfig, write
from polzoo.recipes.engine import train


def prune(config: TrainingConfig, out: Path, *, resume: bool = False, stop_after: int | None = None) -> Path:
    """Run every stage of a chain and write ``out/NAME-p1``, … .

    Args:
        config: with ``stages``; ``model`` is the checkpoint that is pruned.
        resume: go on where the chain stopped, in whichever stage; finished stages are not looked at again.
        stop_after: leave after so many steps of all stages together.

    Returns:
        the checkpoint of the stage that it came to.

    Raises:
        PolzooError: a model without tensors of its own, stages that cannot be halved to, a chain that is already
            there or was another; and whatever a single run raises.
    """
    names, done, made = stage_names(config), config.model, out
    parents = [_title(find(config.model)), *names]
    _begin(config, out, resume)
    for index, (name, iterations) in enumerate(zip(names, config.stages, strict=True)):
        target, left = out / name, None if stop_after is None else stop_after - index * config.steps
        if left is not None and left <= 0:
            break
        if not (target / "config.json").exists():
            run = train(_stage(config, name, iterations, done), out / f"p{index + 1}", resume=True, stop_after=left)
            if left is not None and left < config.steps:
                return run
            if _processes().is_main_process:
                _publish(run, target, config.model, done, parents[index])
            _processes().wait_for_everyone()
        done, made = f"dir:{target}", target
    return made


def next_stage(config: TrainingConfig, out: Path) -> tuple[TrainingConfig, Path, list[str]]:
    """The run of a chain's first stage that is not finished, or of its last; the folder of that run; and a line on
    every stage."""
    names = stage_names(config)
    finished = [(out / name / "config.json").exists() for name in names]
    index = len(names) - 1 if all(finished) else finished.index(False)
    before = f"dir:{out / names[index - 1]}" if index else config.model
    lines = [f"chain       {len(names)} stages; what follows is of {names[index]} alone"]
    for k, (name, iterations, done) in enumerate(zip(names, config.stages, finished, strict=True), 1):
        much = f"{iterations} iteration{'s' if iterations > 1 else ''}, {config.steps:,} steps"
        lines.append(f"{f'stage {k}':<12}{name}: {much}{', finished' if done else ''}")
    return _stage(config, names[index], config.stages[index], before), out / f"p{index + 1}", lines


def stage_names(config: TrainingConfig) -> list[str]:
    """What the stages are called: ``x-i32`` is pruned to ``x-p1``, ``x-p2``, … and, by the last, ``x``; any other name
    to ``name-p1``, ``name-p2``, … .

    Raises:
        PolzooError: iterations that do not divide those of the stage before, or of the model.
    """
    folder = find(config.model)
    before = read_config(folder).settings.iterations
    for iterations in config.stages:
        if before % iterations or iterations == before:
            raise PolzooError(f"stages: {before} iterations cannot be pruned to {iterations}, which must divide them")
        before = iterations
    plain = re.sub("[^a-z0-9-]+", "-", _title(folder).lower()).strip("-") or config.name
    family = re.sub(r"-i\d+$", "", plain)
    names = [f"{family}-p{k}" for k in range(1, len(config.stages) + 1)]
    return names if family == plain else [*names[:-1], family]


def _title(folder: Path) -> str:
    """A checkpoint's name, or its run's, which holds it as ``checkpoint``."""
    real = folder.resolve()
    return real.parent.name if real.name == "checkpoint" else real.name


def _stage(config: TrainingConfig, name: str, iterations: int, before: str) -> TrainingConfig:
    """The run of one stage, from the stage before; it learns from that one too, or from the model of the chain."""
    about = read_config(checkpoint.resolve(config.model))
    own = {
        "name": name,
        "summary": f"{config.summary or about.summary or config.model}; pruned to {iterations}",
        "model": str(about.spec()),
        "stages": (),
        "iterations": iterations,
        "init": Init.model_validate({"from": before}),
        "teacher": config.model if getattr(config.part().options, "teacher", "previous") == "first" else before,
    }
    return config.model_copy(update=own)


def _begin(config: TrainingConfig, out: Path, resume: bool) -> None:
    """Note what chain this is, or see that it is the one that was begun."""
    note = out / RECIPE
    about = read_config(find(config.model))
    if about.base is not None:
        raise PolzooError(f"{config.model!r} is a delta of {about.base.name!r}: prune that, or write it whole first")
    there = note.exists()
    _processes().wait_for_everyone()  # or one process finds what another has just written
    if there:
        if not resume:
            raise PolzooError(f"{out} holds a run already: add --resume to go on with it, or --out for another folder")
        kept = tomllib.loads(read_bytes(note).decode())
        kept.pop("iterations", None)  # chains noted a default once, which counted for nothing
        state.same(kept, tomllib.loads(_pinned(config, str(about.weights_sha256))), out)
    elif _processes().is_main_process:
        write_bytes(note, _pinned(config, str(about.weights_sha256)).encode())


def _pinned(config: TrainingConfig, sha256: str) -> str:
    return write(config.model_copy(update={"teacher_sha256": sha256}))


def _processes() -> PartialState:
    return processes.join(cpu=not torch.cuda.is_available())


def _publish(run: Path, target: Path, base: str, before: str, parent: str) -> None:
    """A stage's checkpoint as a delta on the model that the chain began with; its recipe calls the stage before by its
    name, not by where it lay."""
    config = read_config(run)
    provenance = config.provenance.model_copy(update={"parent": parent})
    checkpoint.save(
        checkpoint.load_folder(run),
        target,
        summary=config.summary,
        provenance=provenance.model_dump(exclude_none=True),
        recipe=(run / RECIPE).read_text().replace(f'"{before}"', f'"{parent}"'),
        licence=config.licence,
        base=base,
    )
