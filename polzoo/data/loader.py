"""From a data set to batches: a deterministic order with a position, and collation to tensors."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from polzoo.data.augment import augment
from polzoo.data.augment_options import AugmentOptions
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
        for positions in self.positions():
            yield [self.index(position) for position in positions]

    def positions(self) -> Iterator[range]:
        """Places in the endless order of pairs, one range per step; no two steps or ranks share one."""
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch_size
            yield range(first, first + self.batch_size)

    def index(self, position: int) -> int:
        """The pair at a place in the order."""
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return int(self._order[place])


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """A batch of samples: images (B, 3, H, W), maps (B, 1, H, W), polarity (B,).

    A sample without truth has a ``disparity`` of NaN and is nowhere ``valid``. Unknown glass counts as no glass and
    unknown visibility as not visible: such pixels get no extra weight.
    ``intensity_left`` and ``intensity_right`` are there where a sample has them; another's are its images then. Named
    polarization maps (B, C, H, W) are there under their own names.
    """
    sizes = {s.left.shape for s in samples}
    if len(sizes) > 1:
        raise PolzooError(f"samples of one batch must have one size, not {sorted(sizes)}: set height and width")
    return {
        "left": _stack([s.left for s in samples]),
        "right": _stack([s.right for s in samples]),
        "polarity": torch.tensor([s.polarity for s in samples], dtype=torch.float32),
        "disparity": _stack([_truth(s) for s in samples]),
        "valid": _stack([_known(s) for s in samples]),
        "visible": _stack([_absent(s) if s.visible is None else s.visible for s in samples]),
        "glass": _stack([_absent(s) if s.glass is None else s.glass for s in samples]),
        **_intensities(samples),
        **_polarization(samples),
    }


class WithTruth:
    """The pairs of a data set for a loss that needs their truth: one without raises PolzooError, with its name."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.dataset[index]
        if sample.disparity is None:
            raise PolzooError(f"{sample.name or 'a sample'} has no true disparity, which this recipe's loss needs")
        return sample


class Augmented:
    """The pairs of a data set by their position in a sampler's order, each changed by numbers of its own."""

    def __init__(self, dataset: Dataset, sampler: StepSampler, options: AugmentOptions) -> None:
        self.dataset, self.sampler, self.options = dataset, sampler, options

    def __getitem__(self, position: int) -> Sample:
        generator = np.random.default_rng([self.sampler.seed, position, 1])
        return augment(self.dataset[self.sampler.index(position)], self.options, generator)


def loader(
    dataset: Dataset, sampler: StepSampler, workers: int, options: AugmentOptions | None = None
) -> Generator[dict[str, torch.Tensor], None, None]:
    """Batches in the sampler's order; ``workers`` processes change the speed and nothing else.

    With ``options`` each pair is augmented, as a function of the sampler's seed and of the pair's position alone.
    """
    batches = DataLoader(
        dataset if options is None else Augmented(dataset, sampler, options),  # pyright: ignore[reportArgumentType]
        batch_sampler=sampler if options is None else map(list, sampler.positions()),
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


def _polarization(samples: list[Sample]) -> dict[str, torch.Tensor]:
    names = samples[0].polarization.keys()
    other = next((sample for sample in samples if sample.polarization.keys() != names), None)
    if other is not None:
        first, second = (
            f"{s.name or 'a sample'} has {', '.join(s.polarization) or 'none'}" for s in (samples[0], other)
        )
        raise PolzooError(f"samples of one batch must have the same polarization maps: {first}, {second}")
    return {name: _stack([sample.polarization[name] for sample in samples]) for name in names}


def _truth(sample: Sample) -> np.ndarray:
    return np.full((1, *sample.left.shape[1:]), np.nan, np.float32) if sample.disparity is None else sample.disparity


def _known(sample: Sample) -> np.ndarray:
    return np.isfinite(_truth(sample)) if sample.disparity is None or sample.valid is None else sample.valid


def _absent(sample: Sample) -> np.ndarray:
    return np.zeros((1, *sample.left.shape[1:]), dtype=bool)


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
