"""``polzoo train`` from the outside: what it refuses, and that a run that is asked to leave does so in order."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.cli.train import terminable
from polzoo.data.formats import write_image
from polzoo.zoo import build

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
    said = "\n".join(line for line in rest.splitlines() if not line.startswith("step "))
    # where a worker was just handing over a batch, the standard library's thread for it says that nobody took it
    assert not said or ("resource_sharer" in said and "polzoo" not in said), rest
    states = list((tmp_path / "run" / "state").iterdir())
    assert states and all(state.name.startswith("step-") and (state / "state.json").is_file() for state in states)
    left = {file.name.partition(".")[0] for file in (tmp_path / "run").iterdir()}
    assert left == {"log", "events", "recipe", "state"}


def test_termination_is_an_exit_only_while_the_run_lasts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == 143 and signal.getsignal(signal.SIGTERM) == before


# ------------------------------------------------------------------------------------------------------- bad input

MODEL = "raft-lite(hidden_dim=4,context_dim=4,feature_dim=4,width=4,corr_levels=1,corr_radius=1)"
SMALL = f"""
name = "small"
model = "{MODEL}"
data = "synthetic(seed=3, length=4, height=32, width=32, max_disparity=12)"
iterations = 1
steps = 4
batch_size = 1
workers = 0
log_every = 1
save_every = 2
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``bench("--set", "a=b")``: the error of ``polzoo train small.toml …``, one line with exit code 2."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)

    def run(*arguments: str, recipe: str = "small.toml") -> str:
        capfd.readouterr()
        assert main(["train", recipe, "--out", "run", *arguments]) == 2
        (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("polzoo: ")]
        return line

    return run


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["stepz=3"], "stepz: there is no such key; did you mean 'steps'?"),
        (["optimizer.lr=1e-4"], "optimizer.lr: there is no such key; did you mean 'options.lr'?"),
        (["options.lrr=1e-4"], "unknown option of recipe 'supervised': 'lrr'; did you mean 'lr'?"),
        (["recipe=supervized"], "did you mean 'supervised'?"),
        (["warmup=500"], "warmup: Input should be less than 1 (share of the steps in which the rate rises)"),
        (["options.lr=300"], "lr"),
        (['thaw."backbone.*"=100'], "thaw.backbone.*: Input should be less than 1"),
        (["freeze=['update.*']", 'thaw."update.*"=0.5'], "freeze and thaw both name 'update.*'"),
        (["freeze=['*']"], "leaves nothing to train"),
        (["freeze=['backbon.*']"], "did you mean 'backbone.*'?"),
        (['batchnorm."*"=frozen'], "Input should be 'train' or 'eval'"),
        (["options.alpha_cap_warmup=3"], "alpha_cap_warmup=3 is more than half of the 4 steps"),
        (["options.alpha_cap_warmup=1"], "alpha_cap_warmup has no effect: the fusion 'none'"),
        (["precision=fp16"], "precision = 'fp16' needs a GPU"),
        (["sharded=true"], "sharded = true spreads a model over processes, and there is one; use --nproc 2"),
        (["init.new=['fusion.*']"], "init: Value error, init takes either from, or recipe with steps"),
        (["init.from=nowhere/at-all"], "nowhere"),
        (["init.from=./other"], "1 misshapen (update.encoder.0.weight (4, 6, 3, 3), not (4, 4, 3, 3))"),
        (["init.from=./other", "init.new=['fussion.*']"], "init.new: 'fussion.*' matches nothing"),
        (["data=synthetik"], "unknown dataset 'synthetik'; did you mean 'synthetic'?"),
        (["data=kitti15(root='nowhere')"], "kitti15: nowhere is no folder with"),
        (["data=['synthetic*-1']"], "a weight in a mixture must be a number above 0"),
        (["data=folder(path='pairs')"], "has no true disparity, which this recipe's loss needs"),
        (["recipe=pip"], "learns from another model: set teacher to a checkpoint's name"),
        (["teacher=polstereo-nano"], "takes no teacher"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_run_that_cannot_be_is_refused_in_one_line_and_leaves_nothing(bench, changes, says) -> None:
    if any("other" in change for change in changes):
        checkpoint.save(build(MODEL.replace("corr_radius=1", "corr_radius=2")), "other")
    if any("pairs" in change for change in changes):
        for side in ("left", "right"):
            write_image(f"pairs/{side}/0.png", np.zeros((32, 32, 3), np.uint8))
    line = bench(*(part for change in changes for part in ("--set", change)))
    assert says in line
    assert not Path("run").exists()


def test_a_resumed_run_must_be_the_same_in_all_that_matters(bench, monkeypatch) -> None:
    assert main(["train", "small.toml", "--out", "run", "--stop-after", "2"]) == 0
    assert "run holds a run already: add --resume" in bench()
    differs = bench("--resume", "--set", "options.lr=1e-2", "--set", "seed=3", "--set", "log_every=2")
    assert differs.endswith("options.lr was 0.0003 and is now 0.01; seed was 0 and is now 3")
    model = bench("--resume", "--set", f"model={MODEL}+v2c(pol_levels=2,pol_radius=2,hidden=4,gate_hidden=4)")
    assert "cannot resume from run/state/step-0000002: model was 'raft-lite(" in model and "+v2c(" in model
    assert "recipe was 'supervised' and is now" not in model
    assert "at step 2 already, beyond --stop-after 1" in bench("--resume", "--stop-after", "1")
    meta = Path("run/state/step-0000002/state.json")
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "world": 2}))
    assert "made by 2 processes and this run has 1; use --nproc 2" in bench("--resume")


@pytest.mark.parametrize(("fault", "says"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_disk_that_cannot_be_written(bench, monkeypatch, fault, says) -> None:
    """The state that was there is still there, and good."""
    assert main(["train", "small.toml", "--out", "run", "--stop-after", "2"]) == 0

    def refuse(*_: object, **__: object) -> str:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", refuse)
        assert f"cannot write {Path.cwd()}/run/state/step-0000004: {says}" in bench("--resume")
    assert [path.name for path in Path("run/state").iterdir()] == ["step-0000002"]
    assert main(["train", "small.toml", "--out", "run", "--resume"]) == 0


def test_memory_that_does_not_suffice_names_the_knob(bench, monkeypatch) -> None:
    from polzoo.recipes import supervised

    def refuse(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(supervised, "sequence_loss", refuse)
    batch = bench("--set", "batch_size=4")
    assert "out of memory in step 1; try batch_size = 2 with accumulate = 2, which is the same step" in batch
    assert batch.endswith("or precision = 'bf16'")
    assert "try fewer iterations than 1, smaller pairs in data" in bench("--set", "precision=bf16")


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_losses_that_are_not_finite_are_counted_then_stop_the_run(bench, monkeypatch, capfd) -> None:
    from polzoo.recipes import supervised

    whole, calls = supervised.sequence_loss, iter(range(99))
    bad = {0, 1, 4, 5, 8, 9, 10, 11}  # the loss is computed first, then epe: steps 1, 3, 5 and 6
    monkeypatch.setattr(
        supervised, "sequence_loss", lambda *a: whole(*a) * (float("nan") if next(calls) in bad else 1.0)
    )
    line = bench("--set", "steps=9", "--set", "patience=2")
    assert "the loss was not finite for 2 batches up to step 6; lower options.lr" in line
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in log] == [1, 1, 2, 2, 3]
    assert [line["loss"] is None for line in log] == [True, False, True, False, True]


def test_one_process_is_no_launch(bench, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--nproc starts torchrun, and this is a process of torchrun already" in bench("--nproc", "2")


# --------------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_says_what_the_run_would_take_and_writes_nothing(bench, capfd) -> None:
    before = sorted(Path.cwd().rglob("*"))
    assert main(["train", "small.toml", "--dry-run", "--set", "freeze=['update.*']", "--set", "steps=1000"]) == 0
    said = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    every, cell = (sum(p.numel() for p in m.parameters()) for m in (build(MODEL), build(MODEL).update))
    assert said["parameters"] == f"{every - cell:,} trained, {cell:,} frozen"
    assert said["data"].endswith(": 4 pairs") and said["batch"].startswith("left (1, 3, 32, 32), ")
    assert said["memory"].endswith("MiB of tensors at the peak, on cpu") and float(said["memory"].split()[0]) > 0
    assert "s a step; 1,000 steps take 0:" in said["time"] and said["rate"].startswith("0.0003 at its peak")
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_dry_run_says_where_it_would_go_on(bench, capfd) -> None:
    def said(*arguments: str) -> list[str]:
        assert main(["train", "small.toml", "--out", "run", "--dry-run", *arguments]) == 0
        return [line for line in capfd.readouterr().out.splitlines() if line.startswith("resume")]

    assert said("--resume") == ["resume      run has no state; the run would begin at step 1"] and said() == []
    assert main(["train", "small.toml", "--out", "run", "--stop-after", "2"]) == 0
    capfd.readouterr()
    before = {file: file.stat().st_mtime_ns for file in Path("run").rglob("*")}
    assert said("--resume") == ["resume      run goes on after step 2; what follows is measured on fresh weights"]
    for given, why in ((["--set", "steps=5"], "steps was 4 and is now 5"), (["--nproc", "2"], "use --nproc 1")):
        assert why in bench("--resume", "--dry-run", *given)
    assert {file: file.stat().st_mtime_ns for file in Path("run").rglob("*")} == before


def test_a_dry_run_says_at_once_what_it_does(bench) -> None:
    """Before torch, whose import takes seconds, is there."""
    script = (
        "import sys, click; from polzoo.cli.app import main\n"
        "def echo(line, err=False): print('torch' in sys.modules, err, line); raise SystemExit\n"
        "click.echo = echo; main(['train', 'small.toml', '--dry-run'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "False True dry run of small: loading it, then three steps on one batch\n", done.stderr


def test_a_dry_run_says_what_to_put_where(bench) -> None:
    line = bench("--dry-run", "--set", "precision=no", recipe="raft-stereo")
    assert "sceneflow: datasets/SceneFlow is no folder with FlyingThings3D/" in line and "https://" in line


# ------------------------------------------------------------------------------------------------------------ runs


def test_runs_are_listed_compared_and_plotted(bench, capfd) -> None:
    for name, rate in (("one", "1e-3"), ("two", "1e-4")):
        assert main(["train", "small.toml", "--out", f"runs/{name}", "--set", f"options.lr={rate}"]) == 0
    capfd.readouterr()
    assert main(["runs", "list"]) == 0
    listed = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["runs/one", "4/4"], ["runs/two", "4/4"]]
    assert all(line.endswith("finished") for line in listed[1:])
    assert main(["runs", "compare", "runs/one", "runs/two", "--what", "epe"]) == 0
    compared = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert compared[0] == ["runs/one", "runs/two"] and compared[1] == ["options.lr", "0.001", "0.0001"]
    logged = [json.loads(line)["epe"] for line in Path("runs/one/log.jsonl").read_text().splitlines()]
    assert [line[:3] for line in compared[2:]] == [["epe", "at", str(step)] for step in (1, 2, 3, 4)]
    assert [line[3] for line in compared[2:]] == [f"{value:.4g}" for value in logged]
    assert main(["runs", "plot", "runs/one", "runs/two", "--out", "curves.png"]) == 0
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")


def test_no_runs_yet_is_no_error(bench, capfd) -> None:
    for arguments in ([], ["."]):
        assert main(["runs", "list", *arguments]) == 0
        out, error = capfd.readouterr()
        assert out == f"no run below {(*arguments, 'runs')[0]}: `polzoo train RECIPE` writes one\n" and not error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "nowhere"], "there is no folder nowhere"),
        (["compare", "runs/won"], "runs/won holds no run (no log.jsonl and recipe.toml); did you mean 'one'?"),
        (["plot", "runs/one", "--what", "los"], "unknown number in runs/one/log.jsonl 'los'; did you mean 'loss'?"),
        (["list", "."], "runs/one/log.jsonl cannot be read"),
    ],
)
def test_runs_that_are_none(bench, capfd, arguments, says) -> None:
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/recipe.toml").write_text(SMALL)
    line = "nonsense\n" if arguments[0] == "list" else '{"step": 1, "loss": 2.0}\n'
    Path("runs/one/log.jsonl").write_text(line)
    assert main(["runs", *arguments]) == 2
    assert says in capfd.readouterr().err
