"""Recurrent cells that backbones declare, built from parts that an update operator can execute in any way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.interfaces import Cell, Host, Sites
from polzoo.updates.sites import EVERYTHING

Gates = tuple[Tensor, Tensor, Tensor]


class ConvGRU(nn.Module):
    """Convolutional GRU (3×3 unless ``kernel`` says otherwise) whose gates add a precomputed context term.

    ``h' = (1 − z)·h + z·tanh(W_q[r·h, x] + c_q)``, with z, r = σ(W[h, x] + c). With ``context`` channels the gates
    convolve [h, x, context] as one; that part does not change between iterations, so :meth:`prepare` does it once.
    """

    def __init__(self, hidden: int, inputs: int, context: int = 0, kernel: int = 3) -> None:
        super().__init__()
        self.hidden, self.read = hidden, hidden + inputs
        self.convz = nn.Conv2d(hidden + inputs + context, hidden, kernel, padding=kernel // 2)
        self.convr = nn.Conv2d(hidden + inputs + context, hidden, kernel, padding=kernel // 2)
        self.convq = nn.Conv2d(hidden + inputs + context, hidden, kernel, padding=kernel // 2)

    def prepare(self, context: Tensor) -> Gates:
        """The context's share of each gate, biases included; without context channels, the gates' terms as they come,
        side by side (B, 3C, h, w), without biases."""
        if self.read == self.convz.in_channels:
            z, r, q = context.chunk(3, 1)
            return z, r, q
        convs = self.convz, self.convr, self.convq
        z, r, q = (F.conv2d(context, c.weight[:, self.read :], c.bias, padding=c.padding) for c in convs)  # pyright: ignore
        return z, r, q

    def forward(self, h: Tensor, context: Gates, x: Tensor, reset: Tensor | None = None) -> Tensor:
        z = self._gate(self.convz, h, x, context[0]).sigmoid_()
        r = self._gate(self.convr, h, x, context[1]).sigmoid_()
        if reset is not None:
            r = torch.where(reset, r, 1.0)
        r = r * h
        q = self._gate(self.convq, r, x, context[2]).tanh_()
        return torch.lerp(h, q, z)

    def _gate(self, conv: nn.Conv2d, h: Tensor, x: Tensor, context: Tensor) -> Tensor:
        """W[h, x] + c, state and inputs apart: to join them takes time, and more memory than the rest of a step."""
        of_h, of_x = conv.weight[:, : self.hidden], conv.weight[:, self.hidden : self.read]
        bias = conv.bias if self.read == conv.in_channels else None  # else the context's share has it
        out = F.conv2d(h, of_h, bias, padding=conv.padding)  # pyright: ignore
        return out.add_(F.conv2d(x, of_x, padding=conv.padding)).add_(context)  # pyright: ignore


class RowCell(Cell):
    """A cell in parts that an operator may run at some pixels: units it knows, what they read, and the increment.

    One that overrides ``update`` or ``head`` is run by these instead, at every pixel.
    """

    def unit(self, level: int) -> nn.Module:
        """The recurrent unit of a level, called as ``unit(hidden, unit.prepare(context), read, reset)``."""
        raise NotImplementedError

    def prepare(self, context: tuple[Tensor, ...]) -> tuple[Any, ...]:
        return tuple(self.unit(level).prepare(x) for level, x in enumerate(context))  # pyright: ignore

    def reads(self, level: int, hidden: Sequence[Any], motion: Any, at: Any) -> Any:
        """What the unit reads at ``at`` besides its state and its context; asks for other levels by ``at.pool`` and
        ``at.resize``."""
        raise NotImplementedError

    def increment(self, hidden: Any, at: Any) -> Any:
        """The disparity increment at ``at``, feature pixels, from the finest state everywhere."""
        raise NotImplementedError

    def update(
        self, level: int, hidden: Sequence[Tensor], context: Any, motion: Any, reset: Tensor | None = None
    ) -> Tensor:
        """``reset`` (B, 1, h, w) bool: where the reset gate is evaluated; it is 1 elsewhere. None: everywhere."""
        read = self.reads(level, hidden, motion, EVERYTHING)
        return self.unit(level)(hidden[level], context[level], read, reset)

    def head(self, hidden: Tensor) -> Tensor:
        return self.increment(hidden, EVERYTHING)


class RaftLiteCell(RowCell):
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

    def motion(self, cost: Any, disparity: Tensor, at: Sites) -> Any:
        wide = at.grow(self.lookup_reach - self.motion_reach)
        return at.run(self.encoder, wide.cat(cost, wide.take(disparity)))

    def unit(self, level: int) -> nn.Module:
        return self.gru

    def reads(self, level: int, hidden: Sequence[Any], motion: Any, at: Any) -> Any:
        return motion

    def increment(self, hidden: Any, at: Any) -> Any:
        return at.run(self.delta, at.grow(2).take(hidden))


class RaftCell(RowCell):
    """RAFT-Stereo's update block: motion encoder, one ConvGRU per level, heads for disparity and upsampling weights.

    The context arrives as three blocks of channels per level, for the gates z, r, q. Disparity-native: where the
    official block reads and writes a flow (x, y) with y always zero, this one reads and writes one disparity.

    Args:
        width: channels of each half of the motion encoder.
        motion_dim: channels of the motion features, the disparity itself among them; RAFT-Stereo's unless given.
        mask: what turns the finest state into upsampling weights; those of convex upsampling unless given.
        mask_scale: factor on them, which balances their gradients.
    """

    lookup_reach = 4

    def __init__(
        self,
        host: Host,
        lookup_dim: int,
        width: int = 64,
        slow_fast: bool = False,
        *,
        motion_dim: int | None = None,
        mask: nn.Module | None = None,
        mask_scale: float = 0.25,
    ) -> None:
        super().__init__()
        dims, motion = host.hidden_dims, motion_dim or 2 * width - 1
        self.cost = _layers(lookup_dim, (width, 1), (width, 3))
        self.disparity = _layers(1, (width, 7), (width, 3))
        self.motions = _layers(2 * width, (motion - 1, 3))
        below = (motion, *dims[:-1])  # a level reads motion features or the finer state, and the coarser state
        reads = (b + a for b, a in zip(below, (*dims[1:], 0), strict=True))
        self.grus = nn.ModuleList(map(self.make_gru, dims, reads, host.context_dims))
        self.delta = nn.Sequential(*_layers(dims[0], (4 * width, 3)), nn.Conv2d(4 * width, 1, 3, padding=1))
        if mask is None:
            mask = nn.Sequential(*_layers(dims[0], (4 * width, 3)), nn.Conv2d(4 * width, 9 * host.stride**2, 1))
        self.weights, self.mask_scale = mask, mask_scale
        order = tuple(reversed(range(len(dims))))
        rounds = range(1, len(dims)) if slow_fast else ()
        self.schedule = (*(order[:n] for n in rounds), order)

    def make_gru(self, hidden: int, reads: int, context: int) -> nn.Module:
        """The recurrent unit of a level: it reads ``reads`` channels besides its state and its context."""
        return ConvGRU(hidden, reads)

    def motion(self, cost: Any, disparity: Tensor, at: Sites) -> Any:
        near = at.grow(1)
        cost = near.run(self.cost, cost)
        shape = near.run(self.disparity, at.grow(5).take(disparity))
        return at.cat(at.run(self.motions, near.cat(cost, shape)), at.take(disparity))

    def unit(self, level: int) -> nn.Module:
        return self.grus[level]

    def reads(self, level: int, hidden: Sequence[Any], motion: Any, at: Any) -> Any:
        read = [at.pool(hidden[level - 1]) if level else motion]
        if level + 1 < len(hidden):
            read.append(at.resize(hidden[level + 1], hidden[level]))
        return at.cat(*read)

    def increment(self, hidden: Any, at: Any) -> Any:
        return at.run(self.delta, at.grow(2).take(hidden))

    def mask(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.mask_scale * self.weights(hidden[0])


class SelectiveGRU(nn.Module):
    """A 1×1 and a 3×3 ConvGRU on the same input, blended per pixel: ``h' = a · small(h, x) + (1 − a) · large(h, x)``.

    Source: Wang et al., "Selective-Stereo: Adaptive Frequency Information Selection for Stereo Matching", CVPR 2024.
    """

    def __init__(self, hidden: int, inputs: int, context: int) -> None:
        super().__init__()
        self.small = ConvGRU(hidden, inputs, context, kernel=1)
        self.large = ConvGRU(hidden, inputs, context, kernel=3)

    def prepare(self, context: Tensor) -> tuple[Gates, Gates, Tensor]:
        """Gates of both kernels and the blend, whose logit is the last channel of the context (B, C + 1, h, w)."""
        small, large, blend = self.split(context)
        return self.small.prepare(small), self.large.prepare(large), blend

    def split(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each kernel's gates see of the context, and the blend."""
        return context[:, :-1], context[:, :-1], torch.sigmoid(context[:, -1:])

    def forward(
        self, h: Tensor, context: tuple[Gates, Gates, Tensor], x: Tensor, reset: Tensor | None = None
    ) -> Tensor:
        small, large, blend = context
        return torch.lerp(self.large(h, large, x, reset), self.small(h, small, x), blend)


class SelectiveCell(RaftCell):
    """Selective-Stereo's update block: RAFT-Stereo's with selective units, its context given with the blend's logit."""

    def __init__(self, host: Host, lookup_dim: int, width: int = 64, slow_fast: bool = False, **heads: Any) -> None:
        super().__init__(host, lookup_dim, width, slow_fast, motion_dim=2 * width, **heads)

    def make_gru(self, hidden: int, reads: int, context: int) -> SelectiveGRU:
        return SelectiveGRU(hidden, reads, context - 1)


def _layers(inputs: int, *sizes: tuple[int, int]) -> nn.Sequential:
    """Convolutions of (channels, kernel), each followed by a ReLU."""
    layers: list[nn.Module] = []
    for outputs, kernel in sizes:
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers)
