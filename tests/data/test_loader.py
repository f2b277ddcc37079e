"""From files to batches: the same with any number of workers, and no memory kept from one pair to the next."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polzoo.data.datasets.crestereo import CREStereo
from polzoo.data.datasets.kitti import Kitti15
from polzoo.data.datasets.options import CREStereoOptions, KittiOptions
from polzoo.data.loader import StepSampler, loader
from polzoo.data.mixture import Mixture

ROOTS = runpy.run_path(str(Path(__file__).parent / "datasets" / "roots.py"))
COUNT = 10_000


def test_workers_change_nothing_but_the_speed(tmp_path) -> None:
    """A mixture of two published sets, from step 3 on, in this process and in two others."""
    for name in ("kitti15", "crestereo"):
        ROOTS[name](tmp_path / name)
    kitti = Kitti15(KittiOptions(root=str(tmp_path / "kitti15")))
    mixture = Mixture([kitti, CREStereo(CREStereoOptions(root=str(tmp_path / "crestereo")))], [1, 2])
    alone, together = (
        list(loader(mixture, StepSampler(len(mixture), 2, 5, range(3, 7)), workers)) for workers in (0, 2)
    )
    assert len(alone) == len(together) == 4
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for key, values in one.items():
            assert torch.equal(values, other[key]), key


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> CREStereo:
    """10,000 small pairs, hard links of one."""
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    files: dict[str, np.ndarray] = {"left.jpg": rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)}
    files["right.jpg"], files["left.disp.png"] = files["left.jpg"], np.full((24, 32), 64, np.uint16)
    (root / "hole").mkdir()
    for name, values in files.items():
        Image.fromarray(values).save(root / name)
        for i in range(COUNT):
            os.link(root / name, root / "hole" / f"{i}_{name}")
    return CREStereo(CREStereoOptions(root=str(root)))


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_is_flat_over_ten_thousand_pairs(many) -> None:
    """After the first thousand nothing is added: less than 2 MB, 200 bytes a pair, where a pair takes 22 kB."""
    assert len(many) == COUNT
    taken = []
    for step, _ in enumerate(loader(many, StepSampler(COUNT, 10, 0, range(COUNT // 10)), 0)):
        if step in (COUNT // 100, COUNT // 10 - 1):
            taken.append(resident())
    assert taken[1] - taken[0] < 2_000_000
