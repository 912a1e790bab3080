"""SXM: shift, permute, distribute and transpose vectors."""

from hdl.sxm.hemisphere import Sxm, SxmRow
from hdl.sxm.network import SxmNetwork
from hdl.sxm.tile import QUEUES, SxmTile

__all__ = ["QUEUES", "Sxm", "SxmNetwork", "SxmRow", "SxmTile"]
