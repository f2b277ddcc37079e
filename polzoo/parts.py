"""What components share, for plugins as for built-ins: import from here, nothing private is needed."""

from polzoo.backbones.attention import GateContext, SelectiveContext
from polzoo.backbones.cost_volume import AllPairs, OnDemand, RowPyramid, RowVolume, row_lookup
from polzoo.backbones.encoders import NORMS, ContextEncoder, ResidualBlock, ResidualTrunk
from polzoo.backbones.geometry import DisparityVolume, GeometryPyramid, GeometryVolume, geometry_lookup, soft_argmin
from polzoo.backbones.geometry_stereo import GeometryStereo, Seen
from polzoo.backbones.layers import ConvNorm
from polzoo.backbones.upsample import convex_upsample
from polzoo.fusions.layers import Scale, zero_init
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.precision import at_least_float32, full_precision
from polzoo.updates.cells import ConvGRU, RaftCell, RaftLiteCell, SelectiveCell, SelectiveGRU
from polzoo.updates.sites import EVERYTHING, Everything

__all__ = [
    "EVERYTHING",
    "NORMS",
    "AllPairs",
    "ContextEncoder",
    "ConvGRU",
    "ConvNorm",
    "DisparityVolume",
    "Everything",
    "GateContext",
    "GeometryPyramid",
    "GeometryStereo",
    "GeometryVolume",
    "OnDemand",
    "PolarizationVolume",
    "RaftCell",
    "RaftLiteCell",
    "ResidualBlock",
    "ResidualTrunk",
    "RowPyramid",
    "RowVolume",
    "Scale",
    "Seen",
    "SelectiveCell",
    "SelectiveContext",
    "SelectiveGRU",
    "at_least_float32",
    "convex_upsample",
    "full_precision",
    "geometry_lookup",
    "gradient",
    "row_lookup",
    "soft_argmin",
    "zero_init",
]
