"""What is moved behind a clock edge means the same in every cycle, and what must not be moved stays."""

import json
import os
import random
import re

import pytest
from amaranth.sim import Simulator

from hdl import stamp
from sim.build import build, run_bench
from sim.clocked import ClockedError, clocked
from verification.units.random_logic import INPUTS, OUTPUTS, WIDTH, RandomLogic

CYCLES = 400


def stimuli(seed: int) -> list[list[int]]:
    """Inputs of each cycle."""
    rng = random.Random(f"clocked {seed}")
    return [[rng.getrandbits(WIDTH) for _ in range(INPUTS)] for _ in range(CYCLES)]


@pytest.mark.parametrize("offset", range(4))
def test_random_logic_means_the_same_in_every_cycle(offset, tmp_path):
    """Amaranth's own simulator is the judge."""
    seed = int(os.environ.get("LPU_SEED", "1")) + offset
    print(f"LPU_SEED={seed}")
    with stamp.pure():
        dut = RandomLogic(seed=seed)
        simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    expected = []

    async def bench(ctx):
        for inputs in stimuli(seed):
            for port, value in zip(dut.x, inputs, strict=True):
                ctx.set(port, value)
            expected.append([ctx.get(port) for port in dut.y])
            await ctx.tick()

    simulator.add_testbench(bench)
    simulator.run()
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    assert min(len({row[i] for row in expected}) for i in range(OUTPUTS - 1)) > 20   # they do change
    run_bench(build(RandomLogic(seed=seed), f"random_logic_{seed}"), "verification.units.clocked_bench", seed=seed,
              env={"EXPECTED": str(tmp_path / "expected.json")})


def module(body: str) -> str:
    """A module as yosys writes it."""
    names = sorted(set(re.findall(r"\b[a-z]\b|\\\$\d+ ", body)) - {"a", "b", "y", *re.findall(r"^  wire .*?(\\\$\d+ );", body, re.M)})
    declared = [f"  {'reg' if name in 'qr' or '$' in name else 'wire'} {name};\n" for name in names]
    ports = "  input clk;\n  input a;\n  input b;\n  output y;\n  wire clk;\n  wire a;\n  wire b;\n  wire y;\n"
    return "".join(["module top(clk, a, b, y);\n", ports, *declared, body, "endmodule\n"])


NEXT = "  always @* begin\n    if (_0_ ) begin end\n    \\$1  = q;\n    if (a) begin\n      \\$1  = b;\n    end\n  end\n"
REGISTER = "  always @(posedge clk)\n    q <= \\$1 ;\n"


def test_a_register_is_assigned_where_its_next_value_was_computed():
    assert clocked(module(NEXT + REGISTER + "  assign y = q;\n")).endswith(
        "  assign y = q;\n  always @(posedge clk) begin\n    if (a) begin\n      q <= b;\n    end\n  end\nendmodule\n")


def test_a_next_value_that_something_else_reads_stays():
    text = clocked(module(NEXT + REGISTER + "  assign y = \\$1 ;\n"))
    assert NEXT in text and "    q <= \\$1 ;\n" in text


def test_a_signal_that_serves_one_clock_is_computed_behind_its_edge():
    text = clocked(module("  assign c = a & b;\n" + NEXT.replace("= b", "= c") + REGISTER + "  assign y = q;\n"))
    assert "  reg c;\n" in text and "begin\n    c = a & b;\n    if (a) begin\n      q <= c;\n" in text


@pytest.mark.parametrize("other", [
    "  assign y = c;\n",
    "  always @(posedge a)\n    r <= c;\n",
    "  part p (\n    .x(c)\n  );\n",
    "  assign g = a & c;\n  always @(posedge g)\n    r <= b;\n",
], ids=["output", "another clock", "submodule", "clock"])
def test_a_signal_that_serves_something_else_stays(other):
    text = clocked(module("  assign c = a & b;\n" + NEXT.replace("= b", "= c") + REGISTER + other))
    assert "  assign c = a & b;\n" in text and "  wire c;\n" in text


def test_a_clock_that_is_data_too_stays():
    """Behind its own edge it would be late."""
    text = clocked(module("  assign g = a & b;\n" + NEXT.replace("= b", "= g") + REGISTER.replace("clk", "g") + "  assign y = q;\n"))
    assert "  assign g = a & b;\n" in text


def test_names_are_told_apart_whatever_they_contain():
    """One is the beginning of the others, which look as if they held a function and a number."""
    served, seen = "\\m. ", ("\\m.$k ", "\\m.1'h0 ")
    body = "".join(f"  wire {name};\n  assign {name} = a;\n" for name in (served, *seen))
    text = clocked(module(f"{body}  always @(posedge clk)\n    q <= {served};\n  assign y = {seen[0]} | {seen[1]};\n"))
    assert f"    {served} = a;\n" in text and all(f"  assign {name} = a;\n" in text for name in seen)


def test_a_block_with_a_concatenated_target_serves_all_of_its_names():
    block = "  always @* begin\n    { c, d } = { a, b };\n    e = a;\n  end\n"
    stays = clocked(module(block + "  always @(posedge clk)\n    q <= e;\n  assign y = q ^ d;\n"))
    moves = clocked(module(block + "  always @(posedge clk)\n    q <= e;\n  always @(posedge clk)\n    r <= d;\n  assign y = q;\n"))
    assert block in stays and block not in moves and "    { c, d } = { a, b };\n    e = a;\n    q" in moves


def test_two_registers_with_one_next_value_keep_it():
    text = clocked(module(NEXT + REGISTER + REGISTER.replace("q <=", "r <=") + "  assign y = q;\n"))
    assert "    r <= \\$1 ;\n" in text and "reg \\$1 ;" in text


@pytest.mark.parametrize(("body", "says"), [
    ("  always @* begin\n    c[a +: 1], d = b;\n  end\n", "another form"),
    ("  always @(posedge clk)\n    if (a)\n      q <= b;\n    else\n      q <= a;\n", "without begin and end"),
    ("  always @* begin\n    c = a;\n", "is missing"),
])
def test_other_forms_than_those_of_yosys_are_refused(body, says):
    with pytest.raises(ClockedError, match=says):
        clocked(module(body))


def test_signals_are_computed_before_they_are_used():
    body = "  assign e = d ^ a;\n  assign d = c | b;\n  assign c = a & b;\n"
    text = clocked(module(body + NEXT.replace("= b", "= e") + REGISTER + "  assign y = q;\n"))
    assert "begin\n    c = a & b;\n    d = c | b;\n    e = d ^ a;\n    if (a)" in text


def test_a_register_that_keeps_its_value_after_all_keeps_it():
    text = clocked(module(NEXT.replace("= b", "= q ") + REGISTER + "  assign y = q;\n"))
    assert "begin\n    if (a) begin\n      q <= q ;\n    end\n  end\n" in text


def test_a_signal_that_serves_nothing_goes():
    text = clocked(module("  assign c = a & b;\n  assign d = c;\n" + NEXT + REGISTER + "  assign y = q;\n"))
    assert "assign c" not in text and "assign d" not in text


SUM = "  wire [32:0] \\$1 ;\n  assign \\$1  = a {operator} b;\n  assign y = \\$1 {part};\n"


@pytest.mark.parametrize(("operator", "part", "high"), [
    ("+", "[31:0]", 31), ("-", "[7:4]", 7), ("*", "[3]", 3), ("+", "[32:0]", 32), ("+", "", 32), ("/", "[31:0]", 32),
    ("+ c *", "[31:0]", 32), ("> c +", "[31:0]", 32)])
def test_sums_and_products_are_as_wide_as_somebody_looks_at_them(operator, part, high):
    text = clocked(module(SUM.format(operator=operator, part=part)))
    assert f"  wire [{high}:0] \\$1 ;\n" in text


def test_operands_may_be_concatenations_parts_and_signed():
    text = clocked(module(SUM.format(operator="*", part="[31:0]").replace("a * b", "$signed({ a, b [3:2], 1'h0 }) * $signed(c [7:0])")))
    assert "  wire [31:0] \\$1 ;\n" in text
