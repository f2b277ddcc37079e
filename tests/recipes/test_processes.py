"""Several processes (gloo, on this machine): the same losses as one, whatever befalls one of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(polzoo.__file__).parents[1]
SAME = ["--set", 'batchnorm."*"=eval']  # batch statistics are those of a process


@contextmanager
def run(*arguments: object, restarts: int | None = None) -> Iterator[subprocess.Popen]:
    """``polzoo train``; with ``restarts`` under a torchrun of two processes that starts them anew so often.

    What still runs when the test leaves is ended: a hang is a failure, not a wait.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    command = [sys.executable, *(launcher if restarts is not None else []), "-m", "polzoo", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.terminate()  # torchrun takes its workers along
        process.communicate()


def done(*arguments: object, **how: int) -> str:
    code, said = outcome(*arguments, **how)
    assert code == 0, said
    return said


def outcome(*arguments: object, **how: int) -> tuple[int, str]:
    with run(*arguments, **how) as process:
        _, said = process.communicate(timeout=240)
    return process.returncode, said


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def close(one: Path, other: Path, *terms: str) -> None:
    keys = "loss", "epe", "grad_norm", *terms
    a, b = log(one), log(other)
    assert [line["step"] for line in a] == [line["step"] for line in b] and a
    for x, y in zip(a, b, strict=True):
        assert [x[key] for key in keys] == pytest.approx([y[key] for key in keys], rel=1e-4)


def test_two_processes_are_one_with_twice_the_batch(small_file, tmp_path):
    assert main(["train", str(small_file), "--out", str(tmp_path / "one"), *SAME, "--set", "batch_size=4"]) == 0
    said = done(small_file, "--out", tmp_path / "two", *SAME, "--nproc", 2)
    assert "4 pairs a step, 2 processes on cpu" in said
    close(tmp_path / "one", tmp_path / "two")
    assert {line["processes"] for line in log(tmp_path / "two")} == {2}

    said = done(small_file, "--out", tmp_path / "sharded", *SAME, "--nproc", 2, "--set", "sharded=true")
    close(tmp_path / "one", tmp_path / "sharded")
    one, two, sharded = (
        polzoo.load(str(tmp_path / name / "checkpoint")).state_dict() for name in ("one", "two", "sharded")
    )
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-4) and torch.allclose(value, sharded[name], atol=1e-4), name


def test_two_processes_prune_as_one(tmp_path):
    """Where only trusted pixels count, of which one process has more than the other."""
    torch.manual_seed(0)
    spec = "raft-lite(hidden_dim=4,context_dim=4,feature_dim=4,width=4,corr_levels=1,corr_radius=1)"
    made = polzoo.build(spec, Settings(iterations=4, schedule_steps=4))
    teacher = checkpoint.save(made, tmp_path / "x-i4")
    file = tmp_path / "stage.toml"
    file.write_text(
        f'name = "stage"\nrecipe = "pip"\nmodel = "{spec}"\nteacher = "dir:{teacher}"\niterations = 2\nsteps = 3\n'
        'data = "synthetic(seed=3, length=12, height=32, width=32, max_disparity=12)"\nbatch_size = 2\nworkers = 0\n'
        "log_every = 1\npictures_every = 0\noptions = { lr = 1e-3, trust = 3.0, gamma = 0.9 }\n"
    )
    assert main(["train", str(file), "--out", str(tmp_path / "one"), "--set", "batch_size=4"]) == 0
    done(file, "--out", tmp_path / "two", "--nproc", 2)
    close(tmp_path / "one", tmp_path / "two", "cum", "disp", "hid")


def test_one_of_two_is_killed_and_both_go_on(small_file, tmp_path):
    long = [*SAME, "--set", "steps=40", "--set", "save_every=5"]
    done(small_file, "--out", tmp_path / "whole", *long, restarts=0)
    with run(small_file, "--out", tmp_path / "run", *long, restarts=2) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 12/"):
                os.kill(worker(process.pid), signal.SIGKILL)
                break
        rest = process.communicate(timeout=240)[1]
    assert process.returncode == 0, rest
    assert "step 11/40" in rest or "step 13/40" in rest
    steps = [line["step"] for line in log(tmp_path / "run")]
    assert steps == list(range(1, 41))
    keys = "step", "loss", "epe", "grad_norm"
    whole, run_ = ([[line[key] for key in keys] for line in log(tmp_path / name)] for name in ("whole", "run"))
    assert whole == run_


def worker(launcher: int) -> int:
    """The process id of a launcher's second worker."""
    for _ in range(100):
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(launcher)], capture_output=True, text=True).stdout
        if len(listed.split()) >= 2:
            return int(listed.split()[-1])
        time.sleep(0.05)
    raise AssertionError("torchrun has no two workers")


def test_another_number_of_processes_is_refused_in_words(small_file, tmp_path):
    done(small_file, "--out", tmp_path / "run", "--nproc", 2, "--stop-after", 2)
    assert sorted(path.name for path in (tmp_path / "run" / "state").iterdir()) == ["step-0000002"]
    code, said = outcome(small_file, "--out", tmp_path / "run", "--resume")
    assert code == 2 and "made by 2 processes and this run has 1; use --nproc 2" in said
    code, said = outcome(small_file, "--out", tmp_path / "run", "--nproc", 2)
    assert code == 2 and "holds a run already: add --resume" in said
    assert "Traceback" not in said and said.rstrip().endswith("ended with code 2, see above; --resume goes on")
    done(small_file, "--out", tmp_path / "run", "--nproc", 2, "--resume")
