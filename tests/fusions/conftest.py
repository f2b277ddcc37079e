import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import polzoo
from polzoo.interfaces import Call, Pair, Step
from polzoo.updates.sites import EVERYTHING

REFERENCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))

SMALL = "raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)"


class Scene:
    """A small random pair on stride 4, a disparity on its grid, and a call around them."""

    def __init__(self, b=2, h=32, w=48, seed=0, polarity=(1.0, -1.0, 0.0)):
        g = torch.Generator().manual_seed(seed)
        self.left, self.right = torch.rand(b, 3, h, w, generator=g), torch.rand(b, 3, h, w, generator=g)
        self.disparity = 8 * torch.rand(b, 1, h // 4, w // 4, generator=g) - 1
        self.polarity = torch.tensor(polarity[:b])
        self.pair = Pair(self.left, self.right, self.polarity, self.left, self.right)
        self.call = Call(self.pair, 3, 3)

    @property
    def signs(self):
        return np.asarray(self.polarity, np.float64).reshape(-1, 1, 1, 1)

    def grid(self):
        """(left, right) as float64 arrays on the feature grid."""
        return REFERENCE.views(self.left.numpy(), self.right.numpy(), 4)

    def differences(self, levels, radius, colours=False):
        """The signed lookup, pixel by pixel: (B, levels · (2 · radius + 1), h, w), or (B, 3, …) with colours."""
        left, right = self.grid()
        if not colours:
            left, right = left.mean(1, keepdims=True), right.mean(1, keepdims=True)
        found = REFERENCE.lookup(left, right, self.disparity.numpy(), levels, radius)
        found = found * self.signs[:, None]
        return torch.from_numpy(found if colours else found[:, 0])

    def modulate(self, model, cost, alpha=1.0):
        """What the model's fusion makes of a cost at this scene's disparity."""
        pol = model.fusion.encode(self.call, model.backbone.encode(self.pair))
        step = Step(0, 0, 3, alpha)
        with torch.inference_mode():
            return model.fusion.modulate_lookup(cost, pol, self.disparity, step, EVERYTHING)


@pytest.fixture
def reference():
    return REFERENCE


@pytest.fixture
def scene():
    return Scene()


@pytest.fixture
def make_scene():
    return Scene


@pytest.fixture
def fresh():
    """A small model's fusion with weights that do something, in eval mode."""

    def make(spec, seed=1):
        torch.manual_seed(seed)
        model = polzoo.build(f"{SMALL}+{spec}").eval()
        for p in model.fusion.parameters():
            torch.nn.init.normal_(p, std=0.4)
        return model

    return make
