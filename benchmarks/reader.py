"""What reading a pair costs beside the bare decoder: files to samples, against files to whatever OpenCV or numpy makes.

    python benchmarks/reader.py [--rounds 15] [--out benchmarks/results/reader.json]

The bare decoder is ``cv2.imdecode`` of every picture that the set reads and ``numpy.frombuffer`` of every float map,
with the files in memory's cache. The reader checks chunks and sizes, decodes the truth, and hands out float32 views
(3, H, W) and masks. CPU time of one thread, so that other programs on the machine disturb little; in every round both
read the same pairs one after the other, and the figure is the median over the rounds of their ratio. Scenes of the
analytic generator, 540 × 960 pixels, noise included, written by Pillow.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
from PIL import Image

from polzoo.data.datasets import options
from polzoo.data.datasets.crestereo import CREStereo
from polzoo.data.datasets.kitti import Kitti15
from polzoo.data.datasets.middlebury import Middlebury
from polzoo.data.datasets.published import Published
from polzoo.data.datasets.sceneflow import SceneFlow
from polzoo.data.datasets.sintel import Sintel
from polzoo.data.datasets.tartanair import TartanAir
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.evaluation.machine import load, processor

HERE = Path(__file__).resolve().parent
PAIRS, HEIGHT, WIDTH = 4, 540, 960


def write(path: Path, values: np.ndarray) -> None:
    """A picture as its suffix says, or the floats of a PFM or NPY."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values.astype(np.float32))
    elif path.suffix == ".pfm":
        header = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode()
        path.write_bytes(header + values[::-1].astype("<f4").tobytes())
    else:
        Image.fromarray(values).save(path, quality=95)  # of a JPEG; a PNG has none


def views(sample: Sample, left: Path, right: Path) -> None:
    for path, view in ((left, sample.left), (right, sample.right)):
        write(path, np.rint(255 * view).astype(np.uint8).transpose(1, 2, 0))


def sceneflow(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    place = root / "Monkaa/frames_finalpass/a"
    views(sample, place / f"left/{i}.png", place / f"right/{i}.png")
    write(root / f"Monkaa/disparity/a/left/{i}.pfm", disparity)


def kitti15(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    views(sample, *(root / f"training/image_{camera}/{i}_10.png" for camera in (2, 3)))
    sparse = np.where(np.random.default_rng(i).random(disparity.shape) < 0.2, disparity * 256, 0).astype(np.uint16)
    for folder in ("disp_occ_0", "disp_noc_0"):
        write(root / f"training/{folder}/{i}_10.png", sparse)
    write(root / f"training/obj_map/{i}_10.png", np.zeros(disparity.shape, np.uint8))


def middlebury(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    place = root / f"trainingQ/{i}"
    views(sample, place / "im0.png", place / "im1.png")
    write(place / "disp0GT.pfm", disparity)
    write(place / "mask0nocc.png", np.where(disparity > 20, 255, 128).astype(np.uint8))
    (place / "calib.txt").write_text("cam0=[900 0 480; 0 900 270; 0 0 1]\ndoffs=0\nbaseline=100\n")


def sintel(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    views(sample, *(root / f"training/final_{side}/a/frame_{i}.png" for side in ("left", "right")))
    write(root / f"training/disparities/a/frame_{i}.png", np.stack(
        [disparity // 4, disparity * 64 % 256, disparity * 2**14 % 256], -1).astype(np.uint8))  # fmt: skip
    for folder in ("occlusions", "outofframe"):
        write(root / f"training/{folder}/a/frame_{i}.png", np.where(disparity > 20, 255, 0).astype(np.uint8))


def tartanair(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    place = root / "office/Easy/P000"
    views(sample, *(place / f"image_{side}/{i}_{side}.png" for side in ("left", "right")))
    write(place / f"depth_left/{i}_left_depth.npy", 80 / np.maximum(disparity, 1))


def crestereo(root: Path, sample: Sample, disparity: np.ndarray, i: int) -> None:
    views(sample, *(root / f"hole/{i}_{side}.jpg" for side in ("left", "right")))
    write(root / f"hole/{i}_left.disp.png", (disparity * 32).astype(np.uint16))


SETS: dict[str, tuple[Callable[..., None], Callable[[str], Published]]] = {
    "sceneflow": (sceneflow, lambda root: SceneFlow(options.SceneFlowOptions(root=root, scenes="monkaa"))),
    "kitti15": (kitti15, lambda root: Kitti15(options.KittiOptions(root=root))),
    "middlebury": (middlebury, lambda root: Middlebury(options.MiddleburyOptions(root=root))),
    "sintel": (sintel, lambda root: Sintel(options.SintelOptions(root=root))),
    "tartanair": (tartanair, lambda root: TartanAir(options.TartanAirOptions(root=root))),
    "crestereo": (crestereo, lambda root: CREStereo(options.CREStereoOptions(root=root))),
}


def bare(files: Sequence[Path]) -> None:
    """The files decoded and no more; text is read."""
    for path in files:
        data = path.read_bytes()
        if path.suffix in (".pfm", ".npy"):
            np.frombuffer(data[-4 * HEIGHT * WIDTH :], np.float32).reshape(HEIGHT, WIDTH)[::-1].copy()
        elif path.suffix != ".txt":
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def measure(name: str, samples: Sequence[Sample], rounds: int) -> dict[str, Any]:
    make, open_set = SETS[name]
    with tempfile.TemporaryDirectory() as root:
        for i, sample in enumerate(samples):
            assert sample.disparity is not None
            make(Path(root), sample, sample.disparity[0], i)
        data = open_set(root)
        files = [list(data.paths(i).values()) for i in range(len(data))]
        spent: dict[str, list[float]] = {"bare": [], "reader": []}
        for turn in range(rounds + 1):
            both = {"bare": lambda i: bare(files[i]), "reader": lambda i: data[i]}
            for what in list(both) if turn % 2 else reversed(both):
                start = time.process_time()
                for i in range(len(data)):
                    both[what](i)
                spent[what].append((time.process_time() - start) / len(data))
    ratios = [one / other for one, other in zip(spent["reader"][1:], spent["bare"][1:], strict=True)]
    milliseconds = {f"{what}_ms": 1000 * statistics.median(times[1:]) for what, times in spent.items()}
    return {
        "set": name,
        "ratio": statistics.median(ratios),
        **milliseconds,
        "ratios": [round(r, 4) for r in sorted(ratios)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reader.json")
    parser.add_argument("sets", nargs="*", default=[], help=f"some of {', '.join(SETS)}; all by default")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    scenes = Synthetic(SyntheticOptions(length=PAIRS, height=HEIGHT, width=WIDTH, seed=7))
    samples = [scenes[i] for i in range(PAIRS)]
    rows = []
    for name in arguments.sets or SETS:
        row = measure(name, samples, arguments.rounds)
        rows.append(row)
        shown = f"bare {row['bare_ms']:6.1f} ms, reader {row['reader_ms']:6.1f} ms per pair"
        print(f"{name:12} {row['ratio']:.3f} times the bare decoder  ({shown})", flush=True)
    result = {
        "what": f"CPU time per pair, {HEIGHT}×{WIDTH}; median of {arguments.rounds} paired rounds of {PAIRS} pairs",
        "results": rows,
        "device": processor(),
        "load": load(),
        **record.made(),
    }
    record.write(result, arguments.out)


if __name__ == "__main__":
    main()
