"""SXM: shift, permute, distribute and transpose vectors."""

from hdl.sxm.hemisphere import Sxm, add_network
from hdl.sxm.network import SxmNetwork
from hdl.sxm.tile import QUEUES, SxmTile

__all__ = ["QUEUES", "Sxm", "SxmNetwork", "SxmTile", "add_network"]
