"""confidence: where polarization says glass, the matching cost is not believed. No parameters.

Source: Po-Ting Lin, "Polarization-Guided Segmented Matching", blueprint 37, potinglin.org/blueprints: matching
confidence times (1 − glass confidence). Departs from it: the costs of every lookup are what is suppressed, the
confidence is P · σ(20 · (P − 0.05)) of the contrast P over its maximum, not σ(20 · (Δ − 0.05)) of the bare
difference, and is not blurred.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from polzoo.fusions.polarization import contrast, soft_threshold
from polzoo.interfaces import Call, Encoding, Fusion, Sites, Step


class GlassConfidence(Fusion):
    """``corr' = corr · (1 − c)``, ``c = P · σ(20 · (P − 0.05))``: the recurrent part then goes by what is around."""

    needs = "pair"

    def encode(self, call: Call, encoding: Encoding) -> Tensor:
        return call.record("gate", soft_threshold(F.avg_pool2d(contrast(call.pair), self.host.stride)))

    def modulate_lookup(self, cost: Any, pol: Tensor, disparity: Tensor, step: Step, at: Sites) -> Any:
        return cost * (1 - at.take(pol))
