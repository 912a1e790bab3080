"""MXM: planes of int8 multiply-accumulators, loaded, fed and drained by streams."""

from hdl.mxm.edge import QUEUES, MxmEdge
from hdl.mxm.hemisphere import Mxm, MxmRow
from hdl.mxm.supercell import SupercellPair

__all__ = ["QUEUES", "Mxm", "MxmEdge", "MxmRow", "SupercellPair"]
