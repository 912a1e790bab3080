"""Bench of :class:`verification.units.test_stream.Streams`: stream registers and sampling by the contract."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from isa.geometry import STREAMS
from sim.bench import rng, start
from verification.units.stream_model import LANE_BITS, SIZES, WORD_BITS, StreamModel, random_inputs


@cocotb.test()
async def registers_and_samples_agree_in_every_cycle(dut):
    source, model = rng("streams"), StreamModel()
    dut.incoming__driven.value = 0
    for size in SIZES:
        getattr(dut, f"enable{size}").value = getattr(dut, f"drive{size}").value = 0
    await start(dut)
    compared = 0
    for _ in range(1500):
        inputs = random_inputs(source)
        dut.incoming__driven.value = sum(1 << i for i in inputs.incoming)
        dut.incoming__data.value = sum(word << LANE_BITS * i for i, word in inputs.incoming.items())
        for size in SIZES:
            for name, value in inputs.ports(size).items():
                getattr(dut, f"{name}{size}").value = value
        await ReadOnly()
        for size, (words, driven) in model.samples(inputs).items():
            assert int(getattr(dut, f"sampled{size}").value) == driven, size
            shown = int(getattr(dut, f"sample{size}").value)
            for i, word in enumerate(words):
                assert word is None or shown >> WORD_BITS * i & (1 << WORD_BITS) - 1 == word, (size, i)
        assert int(dut.outgoing__driven.value) == sum(1 << i for i in model.shown)
        data = int(dut.outgoing__data.value)
        for i, word in model.shown.items():
            assert data >> LANE_BITS * i & (1 << LANE_BITS) - 1 == word, i
        compared += len(model.shown)
        model.step(inputs)
        await FallingEdge(dut.clk)
    assert compared > 20 * STREAMS
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    assert int(dut.outgoing__driven.value) == 0
    dut.rst.value = 0
