"""What components share, for plugins as for built-ins: import from here, nothing private is needed."""

from polzoo.backbones.cost_volume import AllPairs, OnDemand, RowPyramid, RowVolume, full_precision, row_lookup
from polzoo.backbones.encoders import ResidualBlock, ResidualTrunk
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.updates.cells import ConvGRU, RaftLiteCell
from polzoo.updates.sites import EVERYTHING, Everything

__all__ = [
    "EVERYTHING",
    "AllPairs",
    "ConvGRU",
    "Everything",
    "OnDemand",
    "PolarizationVolume",
    "RaftLiteCell",
    "ResidualBlock",
    "ResidualTrunk",
    "RowPyramid",
    "RowVolume",
    "full_precision",
    "gradient",
    "row_lookup",
]
