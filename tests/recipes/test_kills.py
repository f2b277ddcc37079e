"""``kill -9`` at any moment, in a save too: the run goes on to the losses and weights of an unbroken one."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import atomic
from polzoo.recipes import state
from polzoo.recipes.engine import train

KILLS, IN_SAVES, SEED = 20, 8, 7
SLOW = 0.4  # seconds that a disturbed part of a save takes


def slowed(name: str) -> Callable[[], None]:
    """Makes one part of a save take long: its files, its flush, its rename, or the removal of old states."""
    module, attribute = {"files": (state.shards, "write"), "removal": (shutil, "rmtree")}.get(
        name, (atomic, f"_{name}")
    )
    whole = getattr(module, attribute)

    def call(*args, **kwargs):
        found = whole(*args, **kwargs) if name == "files" else None
        time.sleep(SLOW)
        return found if name == "files" else whole(*args, **kwargs)

    return lambda: setattr(module, attribute, call)


PARTS = ("files", "flush", "swap", "removal")


def child(config, out: Path, disturb: Callable[[], None]) -> None:
    disturb()
    train(config, out, resume=True)


def nothing() -> None: ...


def in_a_save(out: Path, part: str) -> bool:
    """Whether the disturbed part of a save is going on: hidden work beside the states, or a third state."""
    names = [path.name for path in (out / "state").glob("*")] if (out / "state").is_dir() else []
    hidden = any(name.startswith(".step-") for name in names)
    return sum(name.startswith("step-") for name in names) > 2 if part == "removal" else hidden


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_random_moments_a_run_ends_as_an_unbroken_one(small, tmp_path):
    config = small("steps=150", "save_every=4", ema=0.9)
    began = time.monotonic()
    whole = train(config, tmp_path / "whole")
    length = time.monotonic() - began
    moments, out = random.Random(SEED), tmp_path / "run"
    fork = multiprocessing.get_context("fork")  # torch is imported already: a start costs nothing
    kills = caught = 0
    while kills < KILLS:
        saving = PARTS[kills % len(PARTS)] if caught < IN_SAVES and kills % 2 else ""
        run = fork.Process(target=child, args=(config, out, slowed(saving) if saving else nothing))
        run.start()
        deadline = time.monotonic() + (60 if saving else moments.uniform(0.02, 0.1) * length)
        while run.is_alive() and time.monotonic() < deadline and not (saving and in_a_save(out, saving)):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, SLOW) if saving else 0)
        inside = bool(saving) and in_a_save(out, saving)
        assert run.is_alive() and run.pid, "the run was over before its kill: make it longer"
        os.kill(run.pid, signal.SIGKILL)
        run.join()
        kills, caught = kills + 1, caught + inside
    assert caught >= 5, f"{caught} kills were inside a save"
    again = train(config, out, resume=True)
    assert losses(out) == losses(tmp_path / "whole")
    a, b = polzoo.load(str(whole)).state_dict(), polzoo.load(str(again)).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    left = sorted(path.name for path in (out / "state").iterdir())
    assert left == ["step-0000148", "step-0000150"], left


def losses(out: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["epe"], line["grad_norm"], line["lr"]) for line in lines]
