"""The Triton backend: its errors, and its kernels under the interpreter, in a process that starts with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polzoo.errors import PolzooError
from polzoo.updates.flashgru import triton

INTERPRETED = Path(__file__).with_name("interpreted_triton.py")


def test_kernels_under_the_interpreter():
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED)]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_cpu_without_the_interpreter():
    pytest.importorskip("triton")
    rows, index = torch.zeros(2, 3), torch.zeros(1, 9, dtype=torch.int32)
    with pytest.raises(PolzooError, match="on a CPU without the interpreter: take backend 'sparse'"):
        triton.gates(rows, rows, index, index, torch.zeros(6, 6, 3, 3), torch.zeros(1, 6), torch.zeros(1).long())


def test_a_type_without_tensor_cores():
    pytest.importorskip("triton")
    with pytest.raises(PolzooError, match="float32, float16, bfloat16, not in float64"):
        triton.check(torch.device("cuda"), torch.float64)


def test_a_gpu_that_is_too_old(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    with pytest.raises(PolzooError, match=r"8\.0, T4 has 7\.5 and no bfloat16"):
        triton.check(torch.device("cuda"), torch.bfloat16)


def test_triton_is_not_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "polzoo.updates.flashgru.kernels", raising=False)
    monkeypatch.delattr("polzoo.updates.flashgru.kernels", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(PolzooError, match="needs the package triton"):
        triton.check(torch.device("cuda"), torch.float16)


def test_a_captured_graph_takes_the_nearest_size_that_was_tuned():
    tuned: set[int] = set()
    assert triton._size_class(tuned, 1000, fixed=False) == 10
    assert triton._size_class(tuned, 100_000, fixed=False) == 17
    assert triton._size_class(tuned, 30_000, fixed=True) == 17 and triton._size_class(tuned, 3000, fixed=True) == 10
    assert tuned == {10, 17}
