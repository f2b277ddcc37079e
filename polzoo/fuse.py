"""The inference copy: batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from polzoo.errors import PolzooError


def fused(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for inference with equal outputs (to about 1e-4) and ``fused = True``.

    Folds each batch norm that follows its convolution, transposed or not, in a Sequential, or that a module names in
    ``norms`` (pairs of attribute names); before that, a module's own ``reparameterise()`` joins its branches. Only the
    trainable form is trained, hashed and written.

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
    model.fused = True  # pyright: ignore[reportArgumentType]
    return model


def _fold(module: nn.Module, names) -> None:
    for conv_name, norm_name in names:
        conv, norm = getattr(module, conv_name), getattr(module, norm_name)
        if isinstance(conv, _ConvNd) and isinstance(norm, _BatchNorm):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm, isinstance(conv, _ConvTransposeNd)))
            setattr(module, norm_name, nn.Identity())
