"""PolEnc: features of where polarization differs, on the backbone's grid."""

from __future__ import annotations

from torch import Tensor, nn

from polzoo.backbones.encoders import ResidualBlock
from polzoo.errors import PolzooError
from polzoo.fusions.polarization import contrast, soft_threshold
from polzoo.interfaces import Call


class PolEnc(nn.Module):
    """Unsigned contrast (B, 1, H, W) → features (B, outputs, H / stride, W / stride); 309,761 parameters by default.

    Stem, two residual blocks, spatial attention, 1×1 (spec "polarization" §4). The halvings fall on the first layers,
    as many as the backbone's stride has.

    Raises:
        PolzooError: a backbone whose stride is not 1, 2, 4 or 8.
    """

    def __init__(self, stride: int, width: int, outputs: int) -> None:
        super().__init__()
        if stride not in (1, 2, 4, 8):
            raise PolzooError(f"polarization features are made at 1/1, 1/2, 1/4 or 1/8 of the image, not at 1/{stride}")
        first, second, third = (2 if stride >= 2**i else 1 for i in (1, 2, 3))
        narrow = width // 4
        self.stem = nn.Sequential(nn.Conv2d(1, narrow, 3, first, 1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(
            ResidualBlock(narrow, width // 2, nn.BatchNorm2d, second),
            ResidualBlock(width // 2, width, nn.BatchNorm2d, third),
        )
        self.attention = nn.Sequential(
            nn.Conv2d(width, narrow, 1), nn.ReLU(inplace=True), nn.Conv2d(narrow, 1, 1), nn.Sigmoid()
        )
        self.out = nn.Sequential(nn.Conv2d(width, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, call: Call) -> Tensor:
        x = self.blocks(self.stem(soft_threshold(contrast(call.pair))))
        return self.out(x * call.record("gate", self.attention(x)))
