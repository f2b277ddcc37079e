"""Pictures of a data set's first pairs as a model in training sees them."""

from __future__ import annotations

import torch

from polzoo import visualize
from polzoo.data.sample import Sample
from polzoo.interfaces import Dataset
from polzoo.model import StereoModel
from polzoo.settings import maps_of

PAIRS = 2


def draw(model: StereoModel, dataset: Dataset, device: torch.device, cap: float) -> visualize.Picture:
    """Left view, truth where it is known, disparity and error of the first pairs, (H, W, 3) uint8.

    The model is left in eval mode.
    """
    model.eval()
    panels: list[tuple[str, visualize.Picture]] = []
    for index in range(min(PAIRS, len(dataset))):
        panels += _row(model, dataset[index], device, cap)
    return visualize.sheet(panels, columns=len(panels) // min(PAIRS, len(dataset)))


@torch.no_grad()
def _row(model: StereoModel, sample: Sample, device: torch.device, cap: float) -> list[tuple[str, visualize.Picture]]:
    left, right = (torch.from_numpy(view)[None].to(device) for view in (sample.left, sample.right))
    known = {name: torch.from_numpy(values)[None].to(device) for name, values in sample.polarization.items()}
    maps = {name: known[name] for name in maps_of(model.fusion.needs) if name in known}
    output = model(left, right, polarity=float(sample.polarity), polarization=maps, alpha_cap=cap)
    found = output.disparity[0, 0].float().cpu().numpy()
    panels = [(sample.name or "left", visualize.view(sample.left))]
    if sample.disparity is None:
        return [*panels, ("disparity", visualize.colour(found))]
    truth, valid = sample.disparity[0], None if sample.valid is None else sample.valid[0]
    seen = truth if valid is None else truth[valid]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    return [
        *panels,
        ("truth", visualize.colour(truth, low, high, valid)),
        ("disparity", visualize.colour(found, low, high)),
        ("error, white: 5 px and more", visualize.error_map(found, truth, valid)),
    ]
