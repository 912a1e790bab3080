"""Builds are cached and atomic, benches cannot pass by accident, and errors say what is wrong."""

import json
import threading

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim import build as builder
from sim.build import BenchFailure, BuildError, build, run_bench

BENCH = "verification.units.build_bench"


class Increment(wiring.Component):
    """y is a + step, one cycle later."""

    def __init__(self, *, step):
        self.step = step
        super().__init__({"a": In(8), "y": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(self.a + self.step)
        return m


@pytest.fixture(scope="module")
def model():
    return build(Increment(step=1), "increment")


def test_an_unchanged_design_comes_from_the_cache_and_a_changed_one_does_not(model):
    again = build(Increment(step=1), "increment")
    assert again.seconds == 0.0
    assert again.directory == model.directory
    assert json.loads((model.directory / "build.json").read_text())["name"] == "increment"
    assert not list(model.directory.glob("obj"))


def test_results_are_counted(model):
    result = run_bench(model, BENCH, testcase="passes")
    assert (result.tests, result.failed) == (1, 0)


@pytest.mark.parametrize("testcase, message", [
    ("fails", "1 of 1 tests failed fails"),
    ("does_not_exist", "0 of 0 tests failed"),
    ("crashes", "simulator ended with status 3"),
])
def test_a_bench_that_does_not_pass_raises(model, testcase, message):
    with pytest.raises(BenchFailure, match=message):
        run_bench(model, BENCH, testcase=testcase)


def test_a_bench_that_hangs_is_ended(model):
    with pytest.raises(BenchFailure, match="no end after 5 s"):
        run_bench(model, BENCH, testcase="hangs", timeout=5)


def test_seed_and_parameters_reach_the_bench(model):
    run_bench(model, BENCH, testcase="sees_its_environment", seed=1234, env={"LPU_TEST_VALUE": 5})


def test_errors_of_tools_and_arguments_are_told(tmp_path):
    with pytest.raises(BuildError, match="yosys cannot convert other: ERROR: Module `other' not found"):
        build("module \\top\nend\n", "other")
    with pytest.raises(BuildError, match="names no stamped kind of increment"):
        build(Increment(step=1), "increment", flat=["tile_123"])
    with pytest.raises(BuildError, match=r"notes.txt is neither Verilog \(.v, .sv\) nor C\+\+"):
        build(Increment(step=1), "increment", extra_sources=[tmp_path / "notes.txt"])
    (tmp_path / "broken.v").write_text("module broken(input a; endmodule\n")
    with pytest.raises(BuildError, match="verilator_bin failed with status 1"):
        build(Increment(step=1), "increment", extra_sources=[tmp_path / "broken.v"])


def test_concurrent_builders_make_a_directory_once_and_a_failed_one_leaves_nothing(tmp_path):
    made, gate = [], threading.Barrier(3)

    def make(temporary):
        (temporary / "file").write_text("whole")
        made.append(temporary)

    def builder_thread():
        gate.wait()
        builder._once(tmp_path / "it", make)
        assert (tmp_path / "it" / "file").read_text() == "whole"

    threads = [threading.Thread(target=builder_thread) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1

    def fail(temporary):
        (temporary / "file").write_text("half")
        raise BuildError("no")

    with pytest.raises(BuildError):
        builder._once(tmp_path / "other", fail)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == ["it"]


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("LPU_CXX", "no-such-compiler")
    builder.compiler.cache_clear()
    with pytest.raises(BuildError, match="LPU_CXX='no-such-compiler' is no C\\+\\+ compiler that runs"):
        builder.compiler()
    builder.compiler.cache_clear()
