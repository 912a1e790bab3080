"""The floorplan: which tile stands where, and how a test replaces one."""

import pytest

from hdl.chip import TileSet, TileSetError, row_groups
from hdl.mem import MemTile
from hdl.vxm import VxmTile
from isa import geometry


class OtherMemTile(MemTile):
    """Stands for a faulty tile."""


@pytest.mark.parametrize("name", geometry.NAMES)
def test_a_superlane_has_mem_on_both_sides_of_the_vxm(name):
    g = geometry.named(name)
    row = TileSet().row(g, 0)
    assert row == (MemTile,) * g.mem_groups + (VxmTile,) + (MemTile,) * g.mem_groups
    assert row_groups(g)[row.index(VxmTile)] == g.vxm_group


def test_a_replaced_tile_stands_at_its_group_and_superlane_only():
    g = geometry.named("small")
    tiles = TileSet().with_tile(5, 1, OtherMemTile)
    assert tiles.row(g, 0) == TileSet().row(g, 0)
    assert [group for group, tile in zip(row_groups(g), tiles.row(g, 1)) if tile is OtherMemTile] == [5]


@pytest.mark.parametrize(("group", "superlane"), [(0, 0), (1, 0), (13, 0), (14, 0), (5, 2), (5, -1)])
def test_a_place_without_a_tile_is_refused(group, superlane):
    with pytest.raises(TileSetError, match=f"no MEM or VXM tile in group {group}, superlane {superlane} of small"):
        TileSet().with_tile(group, superlane, OtherMemTile).row(geometry.named("small"), 0)
