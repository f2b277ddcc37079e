"""From a data set to batches: a deterministic order with a position, and collation to tensors."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.interfaces import Dataset


class StepSampler(Sampler[list[int]]):
    """One list of indices per step, a function of (seed, step, rank) alone, so that a run can go on from any step.

    Every epoch is a fresh permutation of the data set; a batch may span two epochs.
    """

    def __init__(self, length: int, batch_size: int, seed: int, steps: range, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.steps, self.rank, self.world = steps, rank, world
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch_size
            yield [self._index(position) for position in range(first, first + self.batch_size)]

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return int(self._order[place])


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """A batch of samples with truth: images (B, 3, H, W), maps (B, 1, H, W), polarity (B,).

    Unknown glass counts as no glass, unknown visibility as not visible: such pixels get no extra weight.
    ``intensity_left`` and ``intensity_right`` are there where a sample has them; another's are its images then.
    """
    sizes = {s.left.shape for s in samples}
    if len(sizes) > 1:
        raise PolzooError(f"samples of one batch must have one size, not {sorted(sizes)}: set height and width")
    return {
        "left": _stack([s.left for s in samples]),
        "right": _stack([s.right for s in samples]),
        "polarity": torch.tensor([s.polarity for s in samples], dtype=torch.float32),
        "disparity": _stack([_truth(s) for s in samples]),
        "valid": _stack([np.isfinite(_truth(s)) if s.valid is None else s.valid for s in samples]),
        "visible": _stack([_absent(s) if s.visible is None else s.visible for s in samples]),
        "glass": _stack([_absent(s) if s.glass is None else s.glass for s in samples]),
        **_intensities(samples),
    }


def loader(dataset: Dataset, sampler: StepSampler, workers: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches in the sampler's order; ``workers`` processes change the speed and nothing else."""
    batches = DataLoader(
        dataset,  # pyright: ignore[reportArgumentType]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_quiet_worker if workers else None,
        multiprocessing_context="spawn" if workers else None,  # a forked worker hangs on its parent's OpenCV threads
        prefetch_factor=4 if workers else None,
    )
    try:
        yield from batches
    except PolzooError as error:  # a worker's message is its whole traceback, with ours as the last line
        raise PolzooError(str(error).splitlines()[-1].removeprefix("polzoo.errors.PolzooError: ")) from error


def _quiet_worker(_: int) -> None:
    """One thread per worker: the training step owns the cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _intensities(samples: list[Sample]) -> dict[str, torch.Tensor]:
    if all(s.intensity_left is None for s in samples):
        return {}
    return {
        "intensity_left": _stack([s.left if s.intensity_left is None else s.intensity_left for s in samples]),
        "intensity_right": _stack([s.right if s.intensity_right is None else s.intensity_right for s in samples]),
    }


def _truth(sample: Sample) -> np.ndarray:
    if sample.disparity is None:
        raise PolzooError(f"{sample.name or 'a sample'} has no true disparity, which this recipe's loss needs")
    return sample.disparity


def _absent(sample: Sample) -> np.ndarray:
    return np.zeros((1, *sample.left.shape[1:]), dtype=bool)


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
