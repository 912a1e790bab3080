"""Sizes of the named points, and the published constants of the full-size machine."""

import pytest

from isa import geometry, timing
from isa.geometry import LANES, NAMES, STREAMS, Geometry, GeometryError, QueueKind
from isa.instructions import Halt, LoadWeights
from isa.issue import expand

FULL = geometry.named("full")


def test_the_full_point_has_the_size_of_the_published_machine() -> None:
    assert FULL.lanes == 320
    assert FULL.sram_bytes == 230_686_720 == 220 << 20
    assert FULL.multipliers == 409_600
    assert FULL.alus == 5_120
    assert len(FULL.queues) == 144
    assert 2 * STREAMS * FULL.lanes == 20_480   # bytes that the streams hold at a boundary
    assert timing.barrier(FULL) == 35


def test_a_plane_of_the_full_point_is_loaded_in_20_cycles_by_16_streams() -> None:
    issues = expand({"MXM0.weights": [LoadWeights(stream=0, group=0, n=20), Halt()]}, FULL).issues
    assert [(issue.cycle, issue.instruction.group) for issue in issues] == [(cycle, cycle) for cycle in range(20)]
    assert FULL.lanes == 20 * LANES   # columns


@pytest.mark.parametrize("name", NAMES)
def test_queues_are_those_of_the_units(name: str) -> None:
    point = geometry.named(name)
    kinds = [queue.kind for queue in point.queues]
    assert kinds.count(QueueKind.MEM) == 2 * point.mem_slices and kinds.count(QueueKind.VXM) == 16
    assert sum(kind in geometry.MXM_QUEUES for kind in kinds) == 12 and len(kinds) == 2 * point.mem_slices + 16 + 12 + 28
    assert [queue.index for queue in point.queues] == list(range(len(kinds)))
    assert len({queue.name for queue in point.queues}) == len(kinds)


@pytest.mark.parametrize("name", NAMES)
def test_the_floorplan_is_mirrored_about_the_vxm(name: str) -> None:
    point = geometry.named(name)
    middle = point.vxm_group
    assert point.groups == 2 * middle + 1 and point.boundaries == point.groups + 1
    for west, east in ((point.mxm_group(0), point.mxm_group(1)), (point.sxm_group(0), point.sxm_group(1)),
                       *((point.mem_group(0, i), point.mem_group(1, i)) for i in range(point.mem_slices))):
        assert middle - west == east - middle > 0
    assert [point.mem_group(1, i) - middle for i in range(point.mem_slices)] == [1 + i // 4 for i in range(point.mem_slices)]
    assert point.sxm_group(1) == point.mem_group(1, point.mem_slices - 1) + 1 == point.mxm_group(1) - 1


@pytest.mark.parametrize("size", [("full", 20, 44, 4096), ("full", 10, 44, 8192), ("tiny", 1, 20, 1024)])
def test_other_sizes_are_refused(size: tuple) -> None:
    with pytest.raises(GeometryError, match="the legal points are|only the named points"):
        Geometry(*size)
