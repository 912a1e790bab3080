"""MXM: planes of int8 multiply-accumulators, loaded, fed and drained by streams."""

from hdl.mxm.edge import MxmEdge
from hdl.mxm.hemisphere import Mxm
from hdl.mxm.supercell import SupercellPair

__all__ = ["Mxm", "MxmEdge", "SupercellPair"]
