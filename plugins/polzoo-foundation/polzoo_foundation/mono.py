"""Depth Anything V2 through transformers: its encoder and neck, frozen, as one map of features.

Source: Yang et al., "Depth Anything V2", NeurIPS 2024; sizes as in the published ``config.json`` files.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from polzoo.errors import PolzooError, one_line

PATCH, CELL = 14, 16
"""A patch of ``PATCH`` pixels stands for ``CELL`` of the image, so that sides that are multiples of 16 fit exactly."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by which the network's images are standardised."""


class Size(NamedTuple):
    """What differs between the published networks."""

    hidden: int
    layers: int
    heads: int
    out: tuple[int, int, int, int]
    neck: tuple[int, int, int, int]
    fusion: int
    side: int = 518


SIZES = {
    "small": Size(384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": Size(768, 12, 12, (3, 6, 9, 12), (96, 192, 384, 768), 128),
    "large": Size(1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256),
    "random": Size(8, 4, 2, (1, 2, 3, 4), (4, 4, 4, 4), 4, 56),
}


class MonoFeatures(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B, channels, H/2, W/2): the finest map of the neck; no gradient flows through it.

    Args:
        name: one of ``SIZES``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.channels = name, SIZES[name].fusion
        net = DepthAnythingForDepthEstimation(_config(SIZES[name]))
        self.encoder, self.neck = net.backbone, net.neck
        self.requires_grad_(False)

    def fetch(self) -> None:
        """Load the published weights, from the Hub or its cache.

        Raises:
            PolzooError: they cannot be had.
        """
        address = f"depth-anything/Depth-Anything-V2-{self.name.capitalize()}-hf"
        try:
            net = DepthAnythingForDepthEstimation.from_pretrained(address, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise PolzooError(
                f"the weights of {address} cannot be fetched ({one_line(error)}); go online once, or use "
                "foundation(pretrained=false), whose features are random"
            ) from error
        self.encoder.load_state_dict(net.backbone.state_dict())
        self.neck.load_state_dict(net.neck.state_dict())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        rows, columns = (side // CELL for side in images.shape[-2:])
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        seen = F.interpolate((images - mean) / std, (PATCH * rows, PATCH * columns), mode="bilinear")
        return self.neck(self.encoder(seen).feature_maps, rows, columns)[-1]


def _config(size: Size) -> DepthAnythingConfig:
    encoder = Dinov2Config(
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=size.side,
        patch_size=PATCH,
        out_indices=list(size.out),
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    return DepthAnythingConfig(
        backbone_config=encoder,
        reassemble_hidden_size=size.hidden,
        neck_hidden_sizes=list(size.neck),
        fusion_hidden_size=size.fusion,
        patch_size=PATCH,
    )
