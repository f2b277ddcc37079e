"""What components share, for plugins as for built-ins: import from here, nothing private is needed."""

from polzoo.backbones.cost_volume import AllPairs, OnDemand, RowPyramid, RowVolume, full_precision, row_lookup
from polzoo.backbones.encoders import NORMS, ContextEncoder, ResidualBlock, ResidualTrunk
from polzoo.backbones.upsample import convex_upsample
from polzoo.fusions.layers import Scale, zero_init
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.updates.cells import ConvGRU, RaftCell, RaftLiteCell
from polzoo.updates.sites import EVERYTHING, Everything

__all__ = [
    "EVERYTHING",
    "NORMS",
    "AllPairs",
    "ContextEncoder",
    "ConvGRU",
    "Everything",
    "OnDemand",
    "PolarizationVolume",
    "RaftCell",
    "RaftLiteCell",
    "ResidualBlock",
    "ResidualTrunk",
    "RowPyramid",
    "RowVolume",
    "Scale",
    "convex_upsample",
    "full_precision",
    "gradient",
    "row_lookup",
    "zero_init",
]
