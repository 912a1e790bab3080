"""MXM: planes of int8 multiply-accumulators, loaded, fed and drained by streams."""

from hdl.mxm.edge import QUEUES, MxmEdge
from hdl.mxm.hemisphere import Mxm, add_supercells
from hdl.mxm.supercell import SupercellPair

__all__ = ["QUEUES", "Mxm", "MxmEdge", "SupercellPair", "add_supercells"]
