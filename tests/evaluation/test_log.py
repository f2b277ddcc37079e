"""A run that is killed goes on where it was: the same bytes in the end, on one process as on two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from polzoo.errors import PolzooError
from polzoo.evaluation.evaluate import evaluate, open_data
from polzoo.evaluation.log import Log
from polzoo.evaluation.protocol import Protocol

DATA = "synthetic(seed=7001,length={},height=64,width=96,max_disparity=16.0)"
ENVIRONMENT = {**os.environ, "POLZOO_PLUGINS": "", "OMP_NUM_THREADS": "1"}


def final(folder: Path) -> bytes:
    """``eval.json`` without what is of one run alone."""
    found = json.loads((folder / "eval.json").read_bytes())
    for result in found["evaluations"]:
        del result["run"]
    return json.dumps(found).encode()


def test_lines_come_back_and_a_cut_off_one_does_not(tmp_path: Path) -> None:
    log = Log(tmp_path / "new", {"data": "d"})
    assert log.read() == {} and not (tmp_path / "new").exists()
    for index in (0, 3):
        log.write({"index": index, "name": "π\u2028"})
    with log.path.open("a") as file:
        file.write('{"index": 5, "na')
    assert sorted(Log(tmp_path / "new", {"data": "d"}).read()) == [0, 3]
    again = Log(tmp_path / "new", {"data": "d"})
    again.write({"index": 5})
    assert sorted(again.read()) == [0, 3, 5] and len(again.path.read_text().splitlines()) == 4


def test_lines_of_other_processes_count(tmp_path: Path) -> None:
    for rank in (0, 1, 2):
        Log(tmp_path, {"data": "d"}, rank).write({"index": rank})
    assert sorted(Log(tmp_path, {"data": "d"}, 7).read()) == [0, 1, 2]


def test_another_evaluation_is_refused(tmp_path: Path) -> None:
    pairs, name = open_data(DATA.format(2))
    evaluate(["sgbm"], pairs, data=name, out=tmp_path)
    with pytest.raises(PolzooError, match=r"pairs-0.jsonl is of another evaluation \(other methods\)"):
        evaluate(["sgbm(block_size=3)"], pairs, data=name, out=tmp_path)
    with pytest.raises(PolzooError, match="other protocol"):
        evaluate(["sgbm"], pairs, data=name, out=tmp_path, protocol=Protocol(name="mine", version=2))


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"name": "no index"}', "[" * 100_000])
@pytest.mark.parametrize("place", [0, 1])
def test_damaged_lines_are_refused_by_the_name_of_their_file(tmp_path: Path, line: str, place: int) -> None:
    log = Log(tmp_path, {"data": "d"})
    log.write({"index": 0})
    lines = log.path.read_text().splitlines()
    lines[place] = line
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(PolzooError, match=r"pairs-0\.jsonl is (damaged|of another evaluation)") as caught:
        Log(tmp_path, {"data": "d"}).read()
    assert "\n" not in str(caught.value)


def test_files_of_another_place_are_not_what_was_measured(tmp_path: Path) -> None:
    """A protocol calls its data the same wherever they lie."""
    pairs, name = open_data(DATA.format(2))

    class Placed:
        def __init__(self, root: str) -> None:
            self.options = SimpleNamespace(root=root)

        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, index: int):
            return pairs[index]

    first = evaluate(["sgbm"], Placed("/data/one"), data=name, out=tmp_path)
    again = evaluate(["sgbm"], Placed("/data/one"), data=name, out=tmp_path)
    assert {**again, "run": 0} == {**first, "run": 0} and "/data/one" not in json.dumps({**first, "run": 0})
    with pytest.raises(PolzooError, match=r"of another evaluation \(other root\)"):
        evaluate(["sgbm"], Placed("/data/other"), data=name, out=tmp_path)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    pairs, name = open_data(DATA.format(3))
    first = evaluate(["sgbm"], pairs, data=name, out=tmp_path)
    left: list[int] = []

    def progress(todo: Iterable[int], count: int) -> Iterable[int]:
        left.append(count)
        return todo

    again = evaluate(["sgbm"], pairs, data=name, out=tmp_path, progress=progress)
    assert left == [0]
    assert {**again, "run": 0} == {**first, "run": 0} and again["run"]["median_ms"] == first["run"]["median_ms"]


def test_more_pairs_go_on_from_fewer(tmp_path: Path) -> None:
    pairs, name = open_data(DATA.format(3))
    evaluate(["sgbm"], pairs, data=name, out=tmp_path, limit=1)
    more = evaluate(["sgbm"], pairs, data=name, out=tmp_path)
    assert len((tmp_path / "pairs-0.jsonl").read_text().splitlines()) == 1 + 3
    fewer = evaluate(["sgbm"], pairs, data=name, out=tmp_path, limit=2)
    for found, limit in ((more, None), (fewer, 2)):
        assert {**found, "run": 0} == {**evaluate(["sgbm"], pairs, data=name, limit=limit), "run": 0}


def test_killed_half_way_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    arguments = ["-m", "polzoo", "eval", "sgbm", "sgbm-filled", "--data", DATA.format(40), "--out"]
    call = [sys.executable, *arguments, str(tmp_path / "killed")]
    running = subprocess.Popen(call, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed" / "pairs-0.jsonl"
    until = time.monotonic() + 120
    while not (log.exists() and len(log.read_bytes().splitlines()) > 5) and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    before = len(log.read_bytes().splitlines()) - 1
    assert 5 <= before < 40 and not (tmp_path / "killed" / "eval.json").exists()
    for folder in ("killed", "whole"):
        call = [sys.executable, *arguments, str(tmp_path / folder)]
        subprocess.run(call, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    assert len(log.read_bytes().splitlines()) == 41
    assert final(tmp_path / "killed") == final(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """Started by torchrun, joined over gloo; a model among the methods, and an odd number of pairs."""
    torch = pytest.importorskip("torch")
    import polzoo
    from polzoo import checkpoint

    torch.manual_seed(0)
    tiny = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    model = checkpoint.save(
        polzoo.build(f"{tiny}+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"), tmp_path / "tiny"
    )
    arguments = ["polzoo", "eval", f"dir:{model}", "sgbm", "--data", DATA.format(5), "--iterations", "2", "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    for folder, call in (("one", [sys.executable, "-m"]), ("two", torchrun)):
        done = [*call, *arguments, str(tmp_path / folder)]
        subprocess.run(done, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    (found,) = json.loads((tmp_path / "two" / "eval.json").read_text())["evaluations"]
    assert found["run"]["processes"] == 2
    logs = [(tmp_path / "two" / f"pairs-{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    assert [[json.loads(line)["index"] for line in lines[1:]] for lines in logs] == [[0, 2, 4], [1, 3]]
    assert final(tmp_path / "one") == final(tmp_path / "two")
    assert found["methods"][0]["gate_auc"] is not None and len(found["methods"][0]["curve"]) == 2
