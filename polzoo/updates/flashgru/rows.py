"""Values at some pixels: packed rows, dense-addressed rows, and the pixels themselves as ``Sites``."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.updates.flashgru import sparse, winograd
from polzoo.updates.flashgru.rulebook import Rulebook
from polzoo.updates.flashgru.sparse import Tap, matrix, with_zero
from polzoo.updates.sites import EVERYTHING

LARGEST_KERNEL = 7
THIN = 8
"""Input channels from which on tiles pay."""
_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Identity)


class Grid(NamedTuple):
    """A map whose pixels are rows: (B·h·w + 1, C), channels-last, the last one zero."""

    rows: Tensor
    size: tuple[int, int, int]

    @property
    def map(self) -> Tensor:
        """(B, C, h, w), a view."""
        return self.rows[:-1].view(*self.size, -1).permute(0, 3, 1, 2)

    @classmethod
    def of(cls, x: Tensor) -> Grid:
        """A copy of a map (B, C, h, w)."""
        return cls(with_zero(x.permute(0, 2, 3, 1).flatten(0, 2)), (x.shape[0], x.shape[2], x.shape[3]))


class Rows:
    """Values (P, C) at the pixels ``at``. Takes part in arithmetic with numbers and with rows of the same pixels.

    ``padded`` are they with a row of zeros behind them, (P + 1, C); copied unless given.
    """

    def __init__(self, values: Tensor, at: Pixels, padded: Tensor | None = None) -> None:
        self.values, self.at, self._padded = values, at, padded

    @property
    def padded(self) -> Tensor:
        return with_zero(self.values) if self._padded is None else self._padded

    def map(self, fill: float | Tensor = 0.0) -> Tensor:
        """(B, C, h, w) with these values, and ``fill`` where there are none."""
        (b, h, w), dim = self.at.book.shape, self.values.shape[1]
        flat = torch.as_tensor(fill, dtype=self.values.dtype, device=self.values.device).expand(b, dim, h, w)
        flat = torch.cat([flat.permute(0, 2, 3, 1).reshape(-1, dim), self.values.new_zeros(1, dim)])
        return flat.index_copy(0, self.at.ids, self.values)[:-1].view(b, h, w, dim).permute(0, 3, 1, 2)

    def detach(self) -> Rows:
        return Rows(self.values.detach(), self.at)

    def _with(self, other: Any, combine: Callable[[Any, Any], Tensor]) -> Rows:
        if isinstance(other, Rows):
            if other.at != self.at:
                raise ValueError("rows of different pixels do not combine; bring them together by at.cat()")
            other = other.values
        elif isinstance(other, Tensor) and other.ndim:
            raise ValueError(f"rows and a map {tuple(other.shape)} do not combine; take its values by at.take()")
        return Rows(combine(self.values, other), self.at)

    def __add__(self, other: Any) -> Rows:
        return self._with(other, operator.add)

    def __sub__(self, other: Any) -> Rows:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Rows:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Rows:
        return self._with(other, operator.mul)

    def __truediv__(self, other: Any) -> Rows:
        return self._with(other, operator.truediv)

    def __neg__(self) -> Rows:
        return Rows(-self.values, self.at)

    __radd__, __rmul__ = __add__, __mul__


class Pixels(NamedTuple):
    """The pixels within ``radius`` of a rulebook's active ones: a sparse execution's ``Sites``.

    ``kernels``, :mod:`.sparse` or :mod:`.triton`, convolves their rows.
    """

    book: Rulebook
    radius: int = 0
    kernels: ModuleType = sparse

    @property
    def ids(self) -> Tensor:
        """(P,) int64: index of each pixel in the flattened map (B, h, w)."""
        return self.book.ids(self.radius)

    @property
    def pixels(self) -> Tensor:
        """The same for reading: a row that stands for no pixel reads the last one."""
        return self.ids if self.book.budget is None else self.ids.clamp(max=self.book.pixels - 1)

    def grow(self, reach: int | None) -> Any:
        return EVERYTHING if reach is None else Pixels(self.book, self.radius + reach, self.kernels)

    def rows(self, values: Tensor) -> Rows:
        """Values (P, C) of these pixels, in their order."""
        return Rows(values, self)

    def take(self, x: Tensor | Grid) -> Rows:
        if isinstance(x, Grid):
            padded = x.rows.index_select(0, F.pad(self.ids, (0, 1), value=len(x.rows) - 1))
            return Rows(padded[:-1], self, padded)
        last = x.permute(0, 2, 3, 1)
        if x.shape[0] > 1 or last.is_contiguous():
            return self.rows(last.flatten(0, 2).index_select(0, self.pixels))
        return self.rows(x.flatten(2)[0].index_select(1, self.pixels).t())

    def cat(self, *xs: Rows) -> Rows:
        values = [self.narrow(x).values for x in xs]
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.rows(torch.cat(values, 1))
        dtype = functools.reduce(torch.promote_types, (x.dtype for x in values))
        padded = values[0].new_empty(len(values[0]) + 1, sum(x.shape[1] for x in values), dtype=dtype)
        padded[-1] = 0
        return Rows(torch.cat(values, 1, out=padded[:-1]), self, padded)

    def narrow(self, x: Rows) -> Rows:
        """Rows of these and of more pixels without the others."""
        if x.at.book is not self.book or x.at.radius < self.radius:
            raise ValueError(f"rows within {x.at.radius} px of the active ones do not reach {self.radius} px")
        return x if x.at == self else self.rows(x.values[: self.book.size(self.radius)])

    def run(self, net: nn.Module, x: Rows) -> Rows:
        """``net`` at these pixels: convolutions of stride 1 and pointwise layers row by row, anything else on a map."""
        layers = _layers(net)
        if layers is None:
            return self.take(net(x.map()))
        left = sum(one.kernel_size[0] // 2 for one in layers if isinstance(one, nn.Conv2d))
        x = self.grow(left).narrow(x)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                left -= layer.kernel_size[0] // 2
                x = self.grow(left).convolve(layer.weight, layer.bias, x)
            else:
                x = Rows(layer(x.values), x.at)
        return x

    def convolve(self, weight: Tensor, bias: Tensor | None, x: Rows) -> Rows:
        """A convolution (O, C, k, k) at these pixels, of rows that reach k // 2 further."""
        kernel = weight.shape[-1]
        tiles = self.kernels is sparse and winograd.fits(x.values, self.book)
        if tiles and kernel <= 3 and weight.shape[1] >= THIN:
            rows = x.values if kernel == 1 else x.padded
            return self.rows(winograd.convolve(rows, weight, bias, self.book, self.radius, x.at.radius))
        weight = matrix(weight)
        bias = weight.new_zeros(weight.shape[1]) if bias is None else bias
        if kernel == 1:
            return self.rows(F.linear(self.narrow(x).values, weight.t(), bias))
        index = self.book.taps(self.radius, x.at.radius, kernel)
        return self.rows(self.kernels.convolve([Tap(x.padded, index, weight)], bias))

    def pool(self, finer: Grid) -> Rows:
        """The next finer level's state averaged over 3×3 pixels at a stride of 2, zeros outside counted."""
        index = self.book.pooled(self.radius, finer.size[1:])
        return self.rows(F.embedding_bag(index, finer.rows, mode="sum") / 9)

    def resize(self, coarser: Grid, like: object) -> Rows:
        """The next coarser level's state, bilinear with aligned corners."""
        index, weight = self.book.between(self.radius, coarser.size[1:], coarser.rows.dtype)
        return self.rows(F.embedding_bag(index, coarser.rows, mode="sum", per_sample_weights=weight))


def _layers(net: nn.Module) -> list[nn.Module] | None:
    """The layers of a network that works row by row, or None."""
    if isinstance(net, nn.Sequential):
        parts = [_layers(one) for one in net]
        return None if None in parts else [layer for part in parts for layer in part or ()]
    if isinstance(net, nn.Conv2d):
        k = net.kernel_size[0]
        same = net.kernel_size == (k, k) and net.padding in ((k // 2, k // 2), k // 2) and k % 2 and k <= LARGEST_KERNEL
        plain = net.stride == net.dilation == (1, 1) and net.groups == 1 and net.padding_mode == "zeros"
        return [net] if same and plain else None
    return [net] if isinstance(net, _POINTWISE) or getattr(net, "pointwise", False) else None
