"""The host port of the whole chip, and both ways of loading a program: they must leave the same bytes."""

import os

import numpy as np
import pytest

from golden.trace import with_check_bits
from isa import geometry
from isa.geometry import LANES
from isa.instructions import Read, Write
from isa.streams import eastward, westward
from sim.build import run_bench
from sim.machine import RtlMachine, chip_model
from verification.placed import placed_program, random_words, read_cycle

GEOMETRIES = ["nano", "small", pytest.param("medium", marks=pytest.mark.nightly)]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_chips_host_port_keeps_its_contract(name):
    model = chip_model(geometry.named(name))
    assert run_bench(model, "verification.chip.axi_bench", env={"GEOMETRY": name}).tests == 6


@pytest.mark.parametrize("name", GEOMETRIES)
def test_preload_and_axi_leave_the_same_bytes_and_the_same_run(name):
    g, seed = geometry.named(name), int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    program = _program(g, np.random.default_rng(seed))
    seen = []
    for preload in (True, False):
        with RtlMachine(g, preload=preload, progress=False) as machine:
            machine.load(program)
            loaded = machine.contents()
            result = machine.run(trace=True)
            seen.append((loaded, machine.contents(), result.trace.headers, result.trace.words))
            assert result.errors == () and result.cycles == program.cycles
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
    for contents in seen[0][:2]:
        assert np.array_equal(contents, with_check_bits(contents[..., :LANES])) and contents[..., LANES:].any()


def _program(g, rng):
    """A few words across the chip, both ways."""
    image = {(0, 2, 3): random_words(rng, g, 3), (1, g.mem_slices - 1, g.words - 2): random_words(rng, g, 2)}
    placed = []
    for i in range(3):
        cycle = 60 + 2 * i
        placed += [("MEM_E7", cycle, Write(address=i, stream=eastward(30))),
                   ("MEM_W2", read_cycle(g, "MEM_W2", eastward(30), "MEM_E7", cycle), Read(address=3 + i, stream=eastward(30)))]
    last, stream = f"MEM_E{g.mem_slices - 1}", westward(9)
    for i in range(2):
        cycle = 90 + i
        placed += [("MEM_W0", cycle, Write(address=g.words // 2 + i, stream=stream)),
                   (last, read_cycle(g, last, stream, "MEM_W0", cycle), Read(address=g.words - 2 + i, stream=stream))]
    return placed_program(g, placed, image=image)
