"""What components share, for plugins as for built-ins: import from here, nothing private is needed."""

from polzoo.backbones.cost_volume import AllPairs, RowPyramid, RowVolume, row_lookup
from polzoo.backbones.encoders import ResidualBlock, ResidualTrunk
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.updates.cells import ConvGRU, RaftLiteCell
from polzoo.updates.sites import EVERYTHING, Everything

__all__ = [
    "EVERYTHING",
    "AllPairs",
    "ConvGRU",
    "Everything",
    "PolarizationVolume",
    "RaftLiteCell",
    "ResidualBlock",
    "ResidualTrunk",
    "RowPyramid",
    "RowVolume",
    "gradient",
    "row_lookup",
]
