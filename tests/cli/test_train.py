"""``polzoo train`` from the outside: a run that is asked to leave does so in order."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polzoo.cli.train import terminable

RECIPE = """
name = "tiny"
model = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
data = "synthetic(seed=3, length=12, height=32, width=64, max_disparity=12)"
iterations = 1
steps = 100000
batch_size = 1
workers = 1
log_every = 1
save_every = 2
"""


@pytest.mark.slow
def test_a_terminated_run_closes_its_workers_and_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    started = subprocess.Popen(
        [sys.executable, "-m", "polzoo", "train", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with started as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("step 5/"):
                run.terminate()
                break
        rest = run.stderr.read()  # until the last process that has it open is gone, the tracker of semaphores included
        assert run.wait(60) == 143
    assert all(line.startswith("step ") for line in rest.splitlines()), rest
    states = list((tmp_path / "run" / "state").iterdir())
    assert states and all(state.name.startswith("step-") and (state / "state.json").is_file() for state in states)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["log.jsonl", "state"]


def test_termination_is_an_exit_only_while_the_run_lasts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
