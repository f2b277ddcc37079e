"""The inference copy: batch norms folded into the convolutions before them, and forms that are faster on a CPU."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from polzoo.errors import PolzooError

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of a weight's dimensions."""


def fused(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for inference with equal outputs (to about 1e-4) and ``fused = True``.

    First a module's own ``reparameterise()`` joins its branches. Then, where a norm follows its convolution, transposed
    or not, in a Sequential, or where a module names the two in ``norms`` (pairs of attribute names): a batch norm is
    folded into the convolution, an instance norm overwrites its output. Weights are stored channels-last, so that
    whatever a convolution gives is, too. Only the trainable form is trained, hashed and written.

    Raises:
        PolzooError: the model is in training mode, where batch norms use the batch's statistics.
    """
    if model.training:
        raise PolzooError("fuse() needs a model in eval mode: call model.eval() first")
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if hasattr(module, "reparameterise"):
            module.reparameterise()  # pyright: ignore[reportCallIssue]
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module, pairwise(name for name, _ in list(module.named_children())))
        _fold(module, getattr(module, "norms", ()))
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv3d) and SlicedConv3d.pays(child):
                setattr(module, name, SlicedConv3d(child))
    for weight in model.parameters():
        if weight.ndim in CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.ndim])
    model.fused = True  # pyright: ignore[reportArgumentType]
    return model


def _fold(module: nn.Module, names) -> None:
    for conv_name, norm_name in names:
        conv, norm = getattr(module, conv_name), getattr(module, norm_name)
        if isinstance(conv, _ConvNd) and isinstance(norm, _BatchNorm):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm, isinstance(conv, _ConvTransposeNd)))
            setattr(module, norm_name, nn.Identity())
        elif isinstance(conv, _ConvNd) and type(norm) is nn.InstanceNorm2d and not norm.affine:
            setattr(module, norm_name, InPlaceInstanceNorm(norm.eps))


class InPlaceInstanceNorm(nn.Module):
    """Instance norm that overwrites what it is given, (B, C, H, W): a large map costs less to change than to make."""

    STRIP: int = 1 << 19
    """Values that are squared at once: 2 MB, which stay in cache."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        eager = x.device.type in ("cpu", "meta") and not torch.compiler.is_compiling()
        if not eager or x.dtype not in (torch.float32, torch.float64):
            return F.instance_norm(x, eps=self.eps)
        x -= x.mean((2, 3), keepdim=True)
        strips = x.split(max(1, self.STRIP // x[:, :, 0].numel()), 2)
        squares = torch.stack([strip.square().sum((2, 3), keepdim=True) for strip in strips]).sum(0)
        x *= (squares / (x.shape[2] * x.shape[3]) + self.eps).rsqrt()
        return x


class SlicedConv3d(nn.Module):
    """A 3×3×3 convolution of stride 1 as one in two dimensions, to three times the channels, whose thirds are added a
    slice apart. On a CPU torch takes up to fifteen times as long for the other (16 channels, torch 2.15)."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.conv = conv

    @staticmethod
    def pays(conv: nn.Conv3d) -> bool:
        """Whether this form can stand for ``conv`` and is the faster one."""
        same = conv.kernel_size == (3, 3, 3) and conv.padding == conv.stride == conv.dilation == (1, 1, 1)
        return same and conv.groups == 1 and (conv.in_channels > 8 or conv.out_channels == 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cuda":
            return self.conv(x)
        weight = self.conv.weight.permute(2, 0, 1, 3, 4).flatten(0, 1)
        thirds = F.conv2d(x.transpose(1, 2).flatten(0, 1), weight, padding=1)
        before, out, behind = thirds.unflatten(0, (x.shape[0], -1)).unflatten(2, (3, -1)).unbind(2)
        out = out.clone() if self.conv.bias is None else out + self.conv.bias.view(-1, 1, 1)
        out[:, 1:] += before[:, :-1]
        out[:, :-1] += behind[:, 1:]
        return out.transpose(1, 2)
