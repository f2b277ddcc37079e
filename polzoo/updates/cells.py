"""Recurrent cells that backbones declare, built from parts that an update operator can execute in any way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.interfaces import Cell, Host, Sites

Gates = tuple[Tensor, Tensor, Tensor]


class ConvGRU(nn.Module):
    """3×3 convolutional GRU whose gates add a precomputed context term.

    ``h' = (1 − z)·h + z·tanh(W_q[r·h, x] + c_q)``, with z, r = σ(W[h, x] + c). With ``context`` channels the gates
    convolve [h, x, context] as one; that part does not change between iterations, so :meth:`prepare` does it once.
    """

    def __init__(self, hidden: int, inputs: int, context: int = 0) -> None:
        super().__init__()
        self.read = hidden + inputs
        self.convz = nn.Conv2d(hidden + inputs + context, hidden, 3, padding=1)
        self.convr = nn.Conv2d(hidden + inputs + context, hidden, 3, padding=1)
        self.convq = nn.Conv2d(hidden + inputs + context, hidden, 3, padding=1)

    def prepare(self, context: Tensor) -> Gates:
        """The context's share of each gate, biases included."""
        convs = self.convz, self.convr, self.convq
        z, r, q = (F.conv2d(context, c.weight[:, self.read :], c.bias, padding=1) for c in convs)
        return z, r, q

    def forward(self, h: Tensor, context: Gates, x: Tensor) -> Tensor:
        hx = torch.cat([h, x], 1)
        z = torch.sigmoid(self._gate(self.convz, hx) + context[0])
        r = torch.sigmoid(self._gate(self.convr, hx) + context[1])
        q = torch.tanh(self._gate(self.convq, torch.cat([r * h, x], 1)) + context[2])
        return torch.lerp(h, q, z)

    def _gate(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        if self.read == conv.in_channels:
            return conv(x)
        return F.conv2d(x, conv.weight[:, : self.read], padding=1)


class RaftLiteCell(Cell):
    """raft-lite's update block: motion encoder on [cost, disparity], one ConvGRU, disparity head."""

    lookup_reach = 4

    def __init__(self, host: Host, lookup_dim: int) -> None:
        super().__init__()
        hidden = host.hidden_dims[0]
        self.encoder = nn.Sequential(
            nn.Conv2d(lookup_dim + 1, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        with torch.no_grad():  # costs are cosines, disparities tens of pixels: let both be heard from the start
            self.encoder[0].weight[:, :lookup_dim] *= 6  # pyright: ignore[reportIndexIssue]
        self.gru = ConvGRU(hidden, hidden, host.context_dims[0])
        self.delta = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(2 * hidden, 1, 3, padding=1)
        )

    def prepare(self, context: tuple[Tensor, ...]) -> tuple[Gates, ...]:
        return (self.gru.prepare(context[0]),)

    def motion(self, cost: Any, disparity: Tensor, at: Sites) -> Any:
        wide = at.grow(self.lookup_reach - self.motion_reach)
        return at.run(self.encoder, wide.cat(cost, wide.take(disparity)))

    def update(self, level: int, hidden: Sequence[Tensor], context: Any, motion: Tensor) -> Tensor:
        return self.gru(hidden[0], context[0], motion)

    def head(self, hidden: Tensor) -> Tensor:
        return self.delta(hidden)


class RaftCell(Cell):
    """RAFT-Stereo's update block: motion encoder, one ConvGRU per level, heads for disparity and upsampling weights.

    The context arrives as three blocks of channels per level, for the gates z, r, q. Disparity-native: where the
    official block reads and writes a flow (x, y) with y always zero, this one reads and writes one disparity.
    """

    lookup_reach = 4

    def __init__(self, host: Host, lookup_dim: int, width: int = 64, slow_fast: bool = False) -> None:
        super().__init__()
        dims = host.hidden_dims
        self.cost = _layers(lookup_dim, (width, 1), (width, 3))
        self.disparity = _layers(1, (width, 7), (width, 3))
        self.motions = _layers(2 * width, (2 * width - 2, 3))
        below = (2 * width - 1, *dims[:-1])  # a level reads motion features or the finer state, and the coarser state
        above = (*dims[1:], 0)
        self.grus = nn.ModuleList(ConvGRU(h, b + a) for h, b, a in zip(dims, below, above, strict=True))
        self.delta = nn.Sequential(*_layers(dims[0], (4 * width, 3)), nn.Conv2d(4 * width, 1, 3, padding=1))
        self.weights = nn.Sequential(*_layers(dims[0], (4 * width, 3)), nn.Conv2d(4 * width, 9 * host.stride**2, 1))
        order = tuple(reversed(range(len(dims))))
        rounds = range(1, len(dims)) if slow_fast else ()
        self.schedule = (*(order[:n] for n in rounds), order)

    def prepare(self, context: tuple[Tensor, ...]) -> tuple[Gates, ...]:
        return tuple((z, r, q) for z, r, q in (c.chunk(3, 1) for c in context))

    def motion(self, cost: Any, disparity: Tensor, at: Sites) -> Any:
        near = at.grow(1)
        cost = near.run(self.cost, cost)
        shape = near.run(self.disparity, at.grow(5).take(disparity))
        return at.cat(at.run(self.motions, near.cat(cost, shape)), at.take(disparity))

    def update(self, level: int, hidden: Sequence[Tensor], context: Any, motion: Tensor) -> Tensor:
        read = [F.avg_pool2d(hidden[level - 1], 3, 2, 1) if level else motion]
        if level + 1 < len(hidden):
            size = hidden[level].shape[-2:]
            read.append(F.interpolate(hidden[level + 1], size, mode="bilinear", align_corners=True))
        return self.grus[level](hidden[level], context[level], torch.cat(read, 1))

    def head(self, hidden: Tensor) -> Tensor:
        return self.delta(hidden)

    def mask(self, hidden: Sequence[Tensor]) -> Tensor:
        return 0.25 * self.weights(hidden[0])


def _layers(inputs: int, *sizes: tuple[int, int]) -> nn.Sequential:
    """Convolutions of (channels, kernel), each followed by a ReLU."""
    layers: list[nn.Module] = []
    for outputs, kernel in sizes:
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers)
