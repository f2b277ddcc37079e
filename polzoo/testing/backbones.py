"""What holds of a backbone: what it declares to fusions and update operators is what it does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polzoo.model import Prepared
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.sites import some_sites
from polzoo.testing.subjects import SIZE, Combination, apart
from polzoo.updates.sites import EVERYTHING


@rule("backbone")
def host(model: Combination) -> None:
    """``host`` says what ``encode`` returns: ``feature_dim`` channels of matching features at 1/stride of the image,
    hidden states and contexts of ``hidden_dims`` and ``context_dims`` channels, finest first.

    Correct ``self.host``, which ``__init__`` sets.
    """
    encoding, declared, multiple = _prepared(model).encoding, model.model.backbone.host, model.model.backbone.multiple
    require(multiple % declared.stride == 0, f"its multiple {multiple} is not one of its stride {declared.stride}")
    h, w = (n // declared.stride for n in SIZE)
    for side, found in zip(("left", "right"), encoding.matching, strict=True):
        wanted = (2, declared.feature_dim, h, w)
        require(found.shape == wanted, f"the {side} features are {tuple(found.shape)} instead of {wanted}")
    for what, dims in (("hidden", declared.hidden_dims), ("context", declared.context_dims)):
        found = getattr(encoding, what)
        channels = tuple(x.shape[1] for x in found)
        require(channels == tuple(dims), f"{what}_dims is {tuple(dims)}, and {what} has {channels} channels")
        sizes = [tuple(x.shape[-2:]) for x in found]
        require(sizes[0] == (h, w) and sizes == sorted(sizes, reverse=True), f"{what} has the sizes {sizes}")
    mark = encoding.importance
    require(mark is None or mark.shape == (2, 1, h, w), f"its importance is {mark is not None and tuple(mark.shape)}")


@rule("backbone")
def first_disparity(model: Combination) -> None:
    """``regularise`` gives a first disparity (B, 1, h, w) on the feature grid that is finite, and a volume.

    Look at the shape of what ``regularise`` returns.
    """
    prepared = _prepared(model)
    wanted = (2, 1, *prepared.encoding.matching[0].shape[-2:])
    require(prepared.first.shape == wanted, f"it is {tuple(prepared.first.shape)} instead of {wanted}")
    require(torch.isfinite(prepared.first).all(), "it is not finite")


@rule("backbone")
def lookup(model: Combination) -> None:
    """A volume's lookup has one channel for each in ``host.lookup``, in that order, and each depends on nothing but the
    disparity it looks at: channel (level, o) at d is channel (level, o − 1) at d + 2^level.

    Look at the order of offsets: RAFT's x − d + k is offset −k.
    """
    prepared, channels = _prepared(model), model.model.backbone.host.lookup
    found = prepared.volume.channels
    require(tuple(found) == tuple(channels), f"host.lookup is {channels[:3]}…, the volume's channels {found[:3]}…")
    disparity = 4 + torch.rand(prepared.first.shape, generator=torch.Generator().manual_seed(0))
    shape, wanted = _costs(prepared, disparity).shape, (2, len(channels), *disparity.shape[-2:])
    require(shape == wanted, f"a lookup is {tuple(shape)} instead of {wanted}")
    place = {channel: i for i, channel in enumerate(channels)}
    require(len(place) == len(channels), "host.lookup names a channel twice")
    for level in {channel.level for channel in channels}:
        here, further = _costs(prepared, disparity), _costs(prepared, disparity + 2**level)
        for channel in (c for c in channels if c.level == level):
            before = channel._replace(offset=channel.offset - 1)
            if before in place:
                off = apart(here[:, place[channel]], further[:, place[before]])
                size = here[:, place[channel]].abs().max().item()
                require(off < 1e-3 * (1 + size), f"{channel} at d and {before} at d + {2**level} differ by {off:.2g}")


@rule("backbone")
def lookup_peaks(model: Combination) -> None:
    """Where the right features are the left ones moved by D, channel (level, offset) is highest at the d for which
    d + offset · 2^level = D: exactly on level 0, within a pooled cell above.

    Look at the sign of disparity (left x matches right x − d), at the order of offsets and at their scale; groups that
    a network regularises are named in ``learned_groups``.
    """
    backbone = model.model.backbone
    channels = {i: c for i, c in enumerate(backbone.host.lookup) if c.group not in backbone.learned_groups}
    if not channels:
        skip("every group of its lookup is learned, so features do not say where a cost is highest")
    reach = max(abs(c.offset) * 2**c.level for c in channels.values()) + 3
    curves, sweep, true = _moved_features(model, reach)
    for i, channel in channels.items():
        wanted, found = true - channel.offset * 2**channel.level, int(sweep[curves[:, i].argmax()])
        most = 0.75 * 2**channel.level if channel.level else 0
        require(abs(found - wanted) <= most, f"{channel} is highest at {found} instead of {wanted}")


@rule("backbone")
def upsampling(model: Combination) -> None:
    """A constant disparity d on the feature grid is stride · d at full resolution, but for a feature pixel's border.

    Look at the scale, and at weights that do not sum up to 1.
    """
    backbone, prepared = model.model.backbone, _prepared(model)
    with torch.inference_mode():
        mask = model.model.update.mask(prepared.encoding.hidden)
        full = backbone.upsample(torch.full_like(prepared.first, 3.0), mask, prepared.encoding)
    s = backbone.host.stride
    require(full.shape == (2, 1, *SIZE), f"it is {tuple(full.shape)} instead of {(2, 1, *SIZE)}")
    inner = full[..., s:-s, s:-s]
    require(apart(inner, torch.full_like(inner, 3 * s)) < 1e-3, f"3 became {inner.min():.4g} to {inner.max():.4g}")


@rule("backbone")
def schedule(model: Combination) -> None:
    """The cell's ``schedule`` runs every level, the finest one (0) last.

    Correct ``schedule`` of what ``make_cell`` returns.
    """
    found, levels = model.model.update.schedule, range(len(model.model.backbone.host.hidden_dims))
    require(found and found[-1] and found[-1][-1] == 0, f"it is {found}")
    run = {level for entry in found for level in entry}
    require(run == set(levels), f"it runs {sorted(run)} of the levels {list(levels)}")


@rule("backbone")
def cell_reaches(model: Combination) -> None:
    """A step of the cell at some pixels needs motion features within ``motion_reach`` and lookups within
    ``lookup_reach`` of them, and is then exact.

    Correct the reaches, ask by ``at.grow`` for what is read around a pixel, and run networks by ``at.run``.
    """
    made = model.build(dtype=torch.float64)
    inputs = {name: value.double() for name, value in model.inputs(2).items()}
    cell = made.update
    with torch.inference_mode():
        prepared = made.prepare(**inputs, iterations=1)
        d = 5 * torch.rand_like(prepared.first)
        cost = prepared.volume.lookup(d, EVERYTHING)
        at = some_sites(*d[:, 0].shape)
        near = at.grow(cell.motion_reach)
        dense = cell.motion(cost, d, EVERYTHING)
        sparse = cell.motion(at.grow(cell.lookup_reach).take(cost), d, near).view_as(dense)
        _require_equal(sparse, dense, near.mask, f"motion features with costs within {cell.lookup_reach} px")
        hidden, context = prepared.encoding.hidden, cell.prepare(prepared.encoding.context)
        whole, part = (cell.update(0, hidden, context, motion) for motion in (dense, sparse))
        _require_equal(part, whole, at.mask, f"a hidden state with motion within {cell.motion_reach} px")


def _prepared(model: Combination) -> Prepared:
    with torch.inference_mode():
        return model.model.prepare(**model.inputs(2), iterations=1)


def _costs(prepared: Prepared, disparity: Tensor) -> Tensor:
    with torch.inference_mode():
        return prepared.volume.lookup(disparity, EVERYTHING)


def _moved_features(model: Combination, reach: int) -> tuple[Tensor, Tensor, int]:
    """Mean cost of every channel for d in a sweep around the true disparity D: (sweep, channels), sweep, D."""
    backbone, true = model.model.backbone, 12
    stride, multiple = backbone.host.stride, backbone.multiple
    width = -(-(true + 4 * reach + 16) * stride // multiple) * multiple
    sweep = torch.arange(true - reach, true + reach + 1)
    with torch.inference_mode():
        encoding = model.model.prepare(**model.inputs(1, multiple, width), iterations=1).encoding
        like = encoding.matching[0]
        right = torch.randn(like.shape, generator=torch.Generator().manual_seed(0))
        encoding = replace(encoding, matching=(right.roll(true, -1), right))
        volume = backbone.regularise(backbone.correlate(encoding), encoding)[0]
        d = torch.zeros(1, 1, *like.shape[-2:])
        inner = slice(true + 2 * reach, -2 * reach)
        curves = [volume.lookup(d + float(value), EVERYTHING)[0, ..., inner].mean((1, 2)) for value in sweep]
    return torch.stack(curves), sweep, true


def _require_equal(found: Tensor, wanted: Tensor, mask: Tensor, what: str) -> None:
    found, wanted = (x[mask.expand_as(x)] for x in (found, wanted))
    missing = torch.isnan(found).double().mean().item()
    require(not missing, f"{100 * missing:.3g} % of {what} read further")
    require(apart(found, wanted) < 1e-9, f"{what} differ by {apart(found, wanted):.2g}")
