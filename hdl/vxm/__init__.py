"""VXM: vector processing, 16 ALUs a lane in a 4 x 4 mesh."""

from hdl.vxm.alu import VxmAlu
from hdl.vxm.tile import VxmTile

__all__ = ["VxmAlu", "VxmTile"]
