"""What goes wrong in the middle of a run: a pair that is not finite, memory, a loader process, a damaged log."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import polzoo
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.interfaces import Dataset
from polzoo.recipes import engine, supervised
from polzoo.recipes.dry_run import dry_run
from polzoo.recipes.engine import train
from polzoo.recipes.make import make_dataset


@dataclass
class Faulty:
    """A data set whose first pair has one pixel that is no number, or ends the process that reads it."""

    whole: Dataset
    deadly: bool = False

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Sample:
        sample = self.whole[index]
        if index:
            return sample
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        left = sample.left.copy()
        left[0, 5, 5] = np.nan
        return replace(sample, left=left)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return polzoo.load(str(folder)).state_dict()


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def bad_steps(folder: Path) -> list[int]:
    return [line["step"] for line in log(folder) if line["loss"] is None]


@pytest.fixture
def spoil(monkeypatch):
    """``spoil(lambda loss: …, calls={2})``: what the training loss of these calls is made to be (0 is the first)."""

    def apply(how, calls) -> None:
        whole, count = supervised.sequence_loss, iter(range(10**6))

        def spoilt(outputs, *rest):
            loss = whole(outputs, *rest)
            return how(loss) if len(outputs) > 1 and next(count) in calls else loss

        monkeypatch.setattr(supervised, "sequence_loss", spoilt)

    return apply


# --------------------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "steps": 3}])
def test_a_pixel_that_is_no_number_costs_one_step_and_nothing_else(small, tmp_path, monkeypatch, changes):
    """The forward pass of such a pair has moved the running statistics by the time that its loss is known."""
    monkeypatch.setattr(engine, "make_dataset", lambda config: Faulty(make_dataset(config)))
    config, out = small(**changes), tmp_path / "whole"
    after = weights(train(config, out))
    (bad,) = bad_steps(out)
    assert all(torch.isfinite(value).all() for value in after.values()) and log(out)[-1]["skipped"] == 1
    assert any(name.endswith("running_mean") for name in after)
    before = weights(train(config, tmp_path / "run", stop_after=bad - 1))
    at = weights(train(config, tmp_path / "run", resume=True, stop_after=bad))
    assert before.keys() == at.keys() and all(torch.equal(at[name], before[name]) for name in before)


def test_the_average_takes_in_no_poisoned_statistics(small, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "make_dataset", lambda config: Faulty(make_dataset(config)))
    config = small(ema=0.9)
    after = weights(train(config, tmp_path / "run"))
    assert len(bad_steps(tmp_path / "run")) == 1 and all(torch.isfinite(value).all() for value in after.values())


@pytest.mark.slow
def test_every_process_skips_what_one_of_them_cannot_use(small_file, tmp_path):
    script = tmp_path / "faulty.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_faults import Faulty, make_dataset, engine\n"
        "from polzoo.cli.app import main\n"
        "engine.make_dataset = lambda config: Faulty(make_dataset(config))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*torchrun, "train", str(small_file), "--out", str(tmp_path / "run"), "--set", "ema=0.9"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(polzoo.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = log(tmp_path / "run")  # six steps of four pairs: twice the data set
    assert len(bad_steps(tmp_path / "run")) == lines[-1]["skipped"] == 2 and lines[-1]["processes"] == 2
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run" / "checkpoint").values())


def test_an_infinite_loss_with_finite_gradients_is_skipped_too(small, tmp_path, spoil):
    before = weights(train(small(), tmp_path / "run", stop_after=2))
    spoil(lambda loss: loss + float("inf"), calls={0})
    after = weights(train(small(), tmp_path / "run", resume=True, stop_after=3))
    assert bad_steps(tmp_path / "run") == [3] and log(tmp_path / "run")[-1]["grad_norm"] > 0
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def overflow(loss: torch.Tensor) -> torch.Tensor:
    """The same finite loss, with gradients that are not."""
    spoilt = loss.clone()
    spoilt.register_hook(lambda gradient: gradient * float("inf"))
    return spoilt


def test_gradients_that_stay_infinite_stop_the_run(small, tmp_path, spoil):
    spoil(overflow, calls=range(99))
    with pytest.raises(PolzooError, match="the gradient was not finite for 3 batches up to step 3"):
        train(small(patience=3), tmp_path / "run")


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("scale", "stops"), [(2.0**8, None), (2.0, 4)])
def test_a_loss_scale_may_be_halved_as_often_as_it_takes(small, tmp_path, spoil, monkeypatch, scale, stops):
    """fp16's scaler on a CPU, whose arithmetic stays float32: 5 overflows, from a scale that allows them and from one
    that does not (2 → 1 is its last good halving)."""
    made = engine.make_accelerator

    def scaled(config):
        accelerator = made(config)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        monkeypatch.setattr(
            type(accelerator), "unscale_gradients", lambda self: [self.scaler.unscale_(o) for o in plain(self)]
        )
        return accelerator

    def plain(accelerator):
        return [prepared.optimizer for prepared in accelerator._optimizers]

    monkeypatch.setattr(engine, "make_accelerator", scaled)
    spoil(overflow, calls=range(5))
    if stops:
        with pytest.raises(PolzooError, match=f"the gradient was not finite for 3 batches up to step {stops}"):
            train(small(patience=3), tmp_path / "run")
        return
    train(small(patience=3), tmp_path / "run")
    assert [line["skipped"] for line in log(tmp_path / "run")] == [1, 2, 3, 4, 5, 5]
    state = json.loads((tmp_path / "run" / "state" / "step-0000006" / "state.json").read_text())
    assert state["scaler"]["scale"] == scale / 2**5


# ------------------------------------------------------------------------------------------------ memory and workers


def test_memory_that_does_not_suffice_for_a_dry_run_names_the_knob(small, monkeypatch):
    def refuse(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(supervised, "sequence_loss", refuse)
    with pytest.raises(PolzooError, match="out of memory in the dry run; try batch_size = 1 with accumulate = 2"):
        list(dry_run(small()))


def test_a_loader_process_that_is_killed_is_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "make_dataset", lambda config: Faulty(make_dataset(config), deadly=True))
    with pytest.raises(PolzooError, match=r"died in step \d: DataLoader worker .* fewer workers than 1") as error:
        train(small(workers=1), tmp_path / "run")
    assert "shared memory (/dev/shm)" in str(error.value) and "\n" not in str(error.value)


def test_any_other_fault_keeps_its_traceback(small, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(supervised, "sequence_loss", refuse)
    with pytest.raises(RuntimeError, match="a bug"):
        train(small(), tmp_path / "run")


# --------------------------------------------------------------------------------------------------------- the log


@pytest.mark.parametrize("damaged", [b'{"step": 1, "lo', b"\xff\xfe\x00", b"{}", b"[]"])
def test_a_damaged_line_of_the_log_is_dropped_with_a_warning(small, tmp_path, capsys, damaged):
    train(small(), tmp_path / "run", stop_after=2)
    path = tmp_path / "run" / "log.jsonl"
    path.write_bytes(damaged + b"\n" + path.read_bytes())
    train(small(), tmp_path / "run", resume=True)
    assert f"polzoo: warning: line 1 of {path} cannot be read and is dropped" in capsys.readouterr().err
    assert [line["step"] for line in log(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
