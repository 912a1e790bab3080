"""The host port alone: AXI4, AXI4-Lite, registers, start and end of a run; on every geometry."""

import pytest

from hdl.host import Host, Readback
from isa import geometry, hostmap
from isa.geometry import QUEUE_DEPTH
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", geometry.NAMES)
def test_host_port_keeps_its_contract(name):
    model = build(elaborate(Host, f"host_{name}", geometry=geometry.named(name)), f"host_{name}")
    tests = 22 if name == "nano" else 21   # one, of a counter that is the same in all, runs on nano only
    assert run_bench(model, "verification.units.host_bench", env={"GEOMETRY": name}).tests == tests


@pytest.mark.parametrize("name", geometry.NAMES)
def test_every_register_and_word_has_an_address_of_its_own(name):
    g = geometry.named(name)
    offsets = [r.offset for r in hostmap.REGISTERS]
    assert len(set(offsets)) == len(offsets) and all(o % 4 == 0 and o < 1 << hostmap.AXIL_ADDRESS_BITS for o in offsets)
    corners = [hostmap.memory_address(g, h, s, k, w) for h in (0, 1) for s in range(g.mem_slices)
               for k in range(g.superlanes) for w in (0, g.words - 1)]
    corners += [hostmap.queue_address(g, q, e) for q in range(len(g.queues)) for e in (0, QUEUE_DEPTH - 1)]
    corners += [hostmap.mailbox_address(g, h, k) for h in (0, 1) for k in range(g.superlanes)]
    assert len(set(corners)) == len(corners) and max(corners) < 1 << hostmap.AXI_ADDRESS_BITS


def test_fields_of_a_register_do_not_overlap():
    for r in hostmap.REGISTERS:
        assert sum(f.mask for f in r.fields) == sum({f.mask for f in r.fields}) < 1 << 32
        assert sum(bin(f.mask).count("1") for f in r.fields) == bin(sum(f.mask for f in r.fields)).count("1"), r.name


@pytest.mark.parametrize(("call", "message"), [
    (lambda g: hostmap.memory_address(g, 2, 0, 0), "hemisphere 2 is outside 0..1"),
    (lambda g: hostmap.memory_address(g, 0, 20, 0), "MEM slice 20 is outside 0..19"),
    (lambda g: hostmap.memory_address(g, 0, 0, 1), "superlane 1 is outside 0..0"),
    (lambda g: hostmap.memory_address(g, 0, 0, 0, 1024), "word 1024 is outside 0..1023"),
    (lambda g: hostmap.queue_address(g, 96), "queue 96 is outside 0..95"),
    (lambda g: hostmap.mailbox_address(g, 2, 0), "hemisphere 2 is outside 0..1"),
    (lambda g: hostmap.mailbox_address(g, 0, 1), "superlane 1 is outside 0..0"),
    (lambda g: hostmap.queue_address(g, 0, QUEUE_DEPTH), f"entry {QUEUE_DEPTH} is outside 0..{QUEUE_DEPTH - 1}"),
    (lambda g: hostmap.register("NOPE"), "no register 'NOPE'"),
    (lambda g: hostmap.register("CONTROL").pack(start=2), "start = 2 is outside 0..1"),
])
def test_what_does_not_exist_is_refused_by_name(call, message):
    with pytest.raises(hostmap.HostMapError, match=message):
        call(geometry.named("nano"))


def test_readback_of_no_memory_is_refused():
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Readback(count=0)


def test_documentation_lists_every_register_and_field():
    text = hostmap.documentation()
    assert all(f"| {r.name} |" in text for r in hostmap.REGISTERS)
    assert all(f"| {f.name} |" in text for r in hostmap.REGISTERS for f in r.fields if len(r.fields) > 1)
