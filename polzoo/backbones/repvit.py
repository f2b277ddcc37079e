"""repvit: RepViT blocks as the one encoder of both images, for matching and for context; recurrence as in ``igev``.

Source: Wang, Chen, Lin, Han, Ding, "RepViT: Revisiting Mobile CNN From ViT Perspective", CVPR 2024, whose blocks are
timm's; one encoder for matching and context alike as in Pip-Stereo's student.
"""

from __future__ import annotations

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.repvit import RepVit, RepViTBlock
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.backbones.geometry_stereo import GeometryStereo, Seen
from polzoo.backbones.layers import ConvNorm
from polzoo.backbones.options import RepViTOptions
from polzoo.errors import PolzooError, one_line, unknown
from polzoo.fusions.polarization import contrast
from polzoo.interfaces import Encoding, Pair


class RepViTTrunk(nn.Module):
    """(B, inputs, H, W) → maps at 1/2, 1/4, 1/8, 1/16 and 1/32. ``dims`` are the channels of the last four.

    Keys are timm's, so that its pretrained weights fit where the allocation is timm's own.
    """

    def __init__(self, net: RepVit) -> None:
        super().__init__()
        self.stem, self.stages = net.stem, net.stages
        self.dims = tuple(net.embed_dim)
        self.half_dim = self.dims[0] // 2

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem.act1(self.stem.conv1(image))]
        x = self.stem.conv2(maps[0])
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def reparameterise(self) -> None:
        """Join the branches of every block into one convolution, in place; outputs agree to about 1e-5."""
        reparameterize_model(self, inplace=True)


class Down(nn.Module):
    """A coarse map's channels projected, doubled in size and added to a finer map; a RepViT block over the sum."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.project = ConvNorm(coarse, fine, 1)
        self.block = RepViTBlock(fine, 2, 3, False, nn.GELU)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.block(fine + F.interpolate(self.project(coarse), scale_factor=2, mode="nearest"))

    def reparameterise(self) -> None:
        reparameterize_model(self.block, inplace=True)


class RepViTStereo(GeometryStereo):
    """Both images through one encoder, once and together; what it sees in the left one is the context, too."""

    options: RepViTOptions

    def __init__(self, options: RepViTOptions) -> None:
        o = options
        trunk = RepViTTrunk(_network(o))
        super().__init__(options, trunk.dims, trunk.half_dim)
        self.trunk = trunk
        pairs = zip(reversed(trunk.dims[:-1]), reversed(trunk.dims[1:]), strict=True)
        self.down = nn.ModuleList(Down(coarse, fine) for fine, coarse in pairs)
        finest = trunk.dims[0]
        self.match = nn.Sequential(
            ConvNorm(finest, finest, norm=nn.InstanceNorm2d), nn.Conv2d(finest, o.feature_dim, 1)
        )
        levels = list(zip(trunk.dims, self.host.hidden_dims, strict=False))
        self.hidden = nn.ModuleList(nn.Conv2d(seen, dim, 3, padding=1) for seen, dim in levels)
        self.context = nn.ModuleList(nn.Conv2d(seen, dim, 3, padding=1) for seen, dim in levels)

    def encode(self, pair: Pair) -> Encoding:
        half, *features = self.trunk(self._input(pair))
        coarsest = len(features) - 1
        for down, level in zip(self.down, reversed(range(coarsest)), strict=True):
            features[level] = down(features[level + 1], features[level])
        left, right = self.match(features[0]).chunk(2)
        n = len(left)
        seen = Seen([x[:n] for x in features], half[:n])
        hidden = tuple(torch.tanh(head(x)) for head, x in zip(self.hidden, seen.features, strict=False))
        gates = self.gates([head(x) for head, x in zip(self.context, seen.features, strict=False)])
        return Encoding((left, right), hidden, gates, self.gates.importance(gates), seen)

    def initialise(self) -> None:
        """timm's weights of the named network, where ``pretrained`` asks for them; from its Hub repository or cache.

        Raises:
            PolzooError: they cannot be fetched.
        """
        o = self.options
        if not o.pretrained:
            return
        try:
            net = timm.create_model(o.encoder, pretrained=True, in_chans=o.inputs, num_classes=0)
        except (OSError, ValueError) as error:  # what hub clients raise offline, for a missing file, without permission
            raise PolzooError(
                f"the pretrained weights of {o.encoder!r} cannot be fetched ({one_line(error)}); "
                "go online once, or use pretrained=false"
            ) from error
        wanted = self.trunk.state_dict()
        self.trunk.load_state_dict({k: v for k, v in net.state_dict().items() if k in wanted})

    def _input(self, pair: Pair) -> Tensor:
        """Both images, standardised as ImageNet's, (2B, inputs, H, W); the contrast of the pair beside each."""
        images = torch.cat([pair.left, pair.right])
        mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        images = (images - mean) / std
        if not self.options.polarization:
            return images
        return torch.cat([images, contrast(pair).repeat(2, 1, 1, 1).to(images.dtype)], 1)


def _network(o: RepViTOptions) -> RepVit:
    """timm's network with the allocation of the options."""
    if o.encoder.startswith("repvit_"):
        tagged = timm.list_models("repvit_*", pretrained=True)
        if o.encoder not in (*timm.list_models("repvit_*"), *tagged):
            raise unknown("RepViT of timm", o.encoder, timm.list_models("repvit_*"))
        return timm.create_model(o.encoder, pretrained=False, in_chans=o.inputs, num_classes=0)  # pyright: ignore
    net = RepVit(o.inputs, embed_dim=o.dims, depth=tuple(map(len, o.blocks)), num_classes=0, distillation=False)
    for dim, blocks, stage in zip(o.dims, o.blocks, net.stages, strict=True):
        stage.blocks = nn.Sequential(*(RepViTBlock(dim, 2, 3, block == "s", nn.GELU) for block in blocks))
    return net
