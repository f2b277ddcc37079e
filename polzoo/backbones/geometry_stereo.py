"""What backbones with a geometry encoding volume share: matching, recurrence and upsampling, as in ``igev``.

Source: Xu, Wang, Ding, Yang, "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023; Wang, Xu, Jia, Yang,
"Selective-Stereo: Adaptive Frequency Information Selection for Stereo Matching", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.backbones.attention import GateContext, SelectiveContext
from polzoo.backbones.geometry import GeometryPyramid, GeometryVolume, correlate, geometry_lookup, soft_argmin
from polzoo.backbones.hourglass import Regulariser
from polzoo.backbones.layers import Merge, instance_block
from polzoo.backbones.options import GeometryOptions
from polzoo.backbones.upsample import convex_upsample
from polzoo.interfaces import Backbone, Encoding, Host
from polzoo.updates.cells import RaftCell, SelectiveCell


class Seen(NamedTuple):
    """Of the left image: features at 1/4, 1/8, 1/16 and 1/32 of its resolution, and those at 1/2 for upsampling."""

    features: Sequence[Tensor]
    half: Tensor


class Superpixels(nn.Module):
    """Weights of the 3×3 coarse pixels around each fine one, as logits (B, 9, H, W), from maps at 1/4 and at 1/2."""

    def __init__(self, inputs: int, half: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.merge = Merge(inputs, half, norm)
        self.out = nn.ConvTranspose2d(2 * half, 9, 4, 2, 1)

    def forward(self, coarse: Tensor, half: Tensor) -> Tensor:
        return self.out(self.merge(coarse, half))


class GeometryStereo(Backbone):
    """Matching, recurrence and upsampling of the IGEV family, for whatever encodes the images.

    A disparity beyond ``max_disp`` (pixels) is no candidate of the first disparity, and the geometry half of the lookup
    reads 0 there; refinement can reach it all the same, guided by the correlation half, which spans the whole image.

    Args:
        features: channels of the left image's features at 1/4 to 1/32.
        half: channels of its features at 1/2.
    """

    options: GeometryOptions

    def __init__(self, options: GeometryOptions, features: Sequence[int], half: int) -> None:
        super().__init__(options)
        o = options
        dims = tuple(reversed(o.hidden_dims))[: o.gru_levels]
        self.gates = SelectiveContext(dims) if o.cell == "selective" else GateContext(dims)
        self.regulariser = Regulariser(o.groups, o.volume_width, features)
        self.mask_dim = half
        self.superpixels = Superpixels(half, half, nn.BatchNorm2d)
        self.first_quarter = instance_block(features[0], half * 3 // 4)
        self.first_superpixels = Superpixels(half * 3 // 4, half, nn.InstanceNorm2d)
        lookup = geometry_lookup(o.volume_width, o.corr_levels, o.corr_radius)
        self.learned_groups = tuple(range(o.volume_width))
        self.host = Host(4, o.feature_dim, dims, self.gates.dims, lookup)

    def correlate(self, encoding: Encoding) -> GeometryVolume:
        return correlate(*encoding.matching, self.options.max_disp // 4, self.options.groups)

    def regularise(self, volume: GeometryVolume, encoding: Encoding) -> tuple[GeometryPyramid, Tensor]:
        geometry, logits = self.regulariser(volume.costs.values, encoding.extra.features)
        return GeometryPyramid(geometry, volume.pairs, self.host.lookup), soft_argmin(logits)

    def make_cell(self, lookup_dim: int) -> RaftCell:
        o, motion = self.options, 2 * self.options.width
        conv = nn.Conv2d(self.host.hidden_dims[0], self.mask_dim, 3, padding=1)
        head = nn.Sequential(conv, nn.ReLU(inplace=True))
        if o.cell == "selective":
            return SelectiveCell(self.host, lookup_dim, o.width, o.slow_fast, mask=head)
        return RaftCell(self.host, lookup_dim, o.width, o.slow_fast, motion_dim=motion, mask=head, mask_scale=1.0)

    def upsample(self, disparity: Tensor, mask: Tensor | None, encoding: Encoding) -> Tensor:
        """(B, 1, h, w) feature pixels → (B, 1, H, W) pixels; without a mask as the first disparity is, in training."""
        seen = encoding.extra
        if mask is None:
            weights = self.first_superpixels(self.first_quarter(seen.features[0]), seen.half)
        else:
            weights = self.superpixels(mask, seen.half)
        return convex_upsample(disparity, F.pixel_unshuffle(weights, 4), 4)
