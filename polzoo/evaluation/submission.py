"""The files that a benchmark's server takes: names, folders and formats as its own page or development kit asks.

* kitti12: ``000000_10.png`` … in the root, 16-bit PNG of 256 · disparity, 0 where there is none (readme of the kit);
* kitti15: the same in ``disp_0/`` (readme of the scene-flow kit);
* eth3d: ``low_res_two_view/SCENE.pfm`` and ``SCENE.txt`` with ``runtime SECONDS`` (documentation, "Result submission");
* middlebury: ``trainingQ/SCENE/disp0METHOD.pfm`` and ``timeMETHOD.txt``, seconds alone; ``disp0METHOD_s.pfm`` where
  pixels have no value, which a PFM shows as infinity (upload-format.html of version 3).

The server wants the content of the folder as one ZIP archive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polzoo import atomic
from polzoo.data.files import write_bytes
from polzoo.data.formats import encode_disparity
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError, shorten, unknown
from polzoo.evaluation.measure import predict
from polzoo.evaluation.methods import Method

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset

FloatMap = NDArray[np.float32]


class Answer(NamedTuple):
    """A disparity (H, W) in pixels, NaN where there is none, of the pair ``name``, and the seconds that it took."""

    name: str
    disparity: FloatMap
    seconds: float


class Benchmark(NamedTuple):
    """``data``: spec of a data set without its root → folder of its answers; ``files``: (answer, folder, method) →
    path → bytes."""

    data: Mapping[str, str]
    files: Callable[[Answer, str, str], dict[str, bytes]]


def _kitti(answer: Answer, folder: str, method: str) -> dict[str, bytes]:
    disparity = np.where(np.isfinite(answer.disparity), np.maximum(answer.disparity, 0), np.nan)
    return {f"{folder}{_scene(answer.name)}.png": encode_disparity(".png", disparity)}


def _eth3d(answer: Answer, folder: str, method: str) -> dict[str, bytes]:
    stem = f"{folder}{_scene(answer.name)}"
    return {f"{stem}.pfm": _pfm(answer.disparity), f"{stem}.txt": f"runtime {answer.seconds:.3f}\n".encode()}


def _middlebury(answer: Answer, folder: str, method: str) -> dict[str, bytes]:
    stem, sparse = f"{folder}{_scene(answer.name)}", "" if np.isfinite(answer.disparity).all() else "_s"
    seconds = f"{answer.seconds:.3f}\n".encode()
    return {f"{stem}/disp0{method}{sparse}.pfm": _pfm(answer.disparity), f"{stem}/time{method}.txt": seconds}


BENCHMARKS: Mapping[str, Benchmark] = {
    "kitti12": Benchmark({'kitti12(split="testing")': ""}, _kitti),
    "kitti15": Benchmark({'kitti15(split="testing")': "disp_0/"}, _kitti),
    "eth3d": Benchmark({"eth3d": "low_res_two_view/", 'eth3d(split="test")': "low_res_two_view/"}, _eth3d),
    "middlebury": Benchmark({"middlebury": "trainingQ/", 'middlebury(split="test")': "testQ/"}, _middlebury),
}


def submit(
    benchmark: str, method: Method, sets: Sequence[tuple[str, Dataset | Sequence[Sample]]], folder: Path
) -> Path:
    """Run a method on a benchmark's pairs and write what its server takes; the folder appears whole or not at all.

    Args:
        sets: (spec, pairs) for each of the benchmark's data; truth is not needed.
        folder: new, or empty.

    Raises:
        PolzooError: no such benchmark, a folder that holds something, two pairs of one name, or a disk that cannot be
            written.
    """
    layout = find(benchmark)
    if folder.is_dir() and any(folder.iterdir()):
        raise PolzooError(f"{folder} is not empty; a submission needs a folder of its own: name another --out")
    name = re.sub(r"[^A-Za-z0-9-]+", "-", method.name.removeprefix("dir:").rstrip("/").rpartition("/")[2]).strip("-")
    with atomic.folder(folder) as work:
        for spec, pairs in sets:
            for answer in answers(method, pairs):
                for path, data in layout.files(answer, layout.data[spec], name).items():
                    if (work / path).exists():
                        raise PolzooError(f"two pairs of {benchmark} are called {shorten(answer.name)!r}")
                    write_bytes(work / path, data)
    return folder


def find(benchmark: str) -> Benchmark:
    """The benchmark of that name; a PolzooError for another."""
    if benchmark not in BENCHMARKS:
        raise unknown("benchmark", benchmark, BENCHMARKS)
    return BENCHMARKS[benchmark]


def answers(method: Method, pairs: Dataset | Sequence[Sample]) -> Iterable[Answer]:
    """A method's disparity of every pair; its first run, which sets things up, is made twice and timed once."""
    for index in range(len(pairs)):
        sample = pairs[index]
        if index == 0:
            predict(method, sample)
        start = time.perf_counter()
        disparity = predict(method, sample).disparity
        yield Answer(sample.name, disparity, time.perf_counter() - start)


def _scene(name: str) -> str:
    """What a benchmark calls a pair: its file (``kitti15/testing/image_2/000000_10``), or the folder of ``im0``."""
    parts = name.split("/")
    return parts[-2] if parts[-1] == "im0" and len(parts) > 1 else parts[-1]


def _pfm(disparity: FloatMap) -> bytes:
    return encode_disparity(".pfm", disparity, np.isfinite(disparity))
