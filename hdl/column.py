"""A column: one group of the floorplan in all superlanes, a row for each, with everything that MXM and SXM have alike."""

from collections.abc import Sequence

from amaranth import Module, Value
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.decode import arrivals
from hdl.fetch import column_ports, connect_column, way_ports, way_wakes
from hdl.operands import Report
from hdl.stream import StreamSide


def row_ports(queues: int, issue_bits: int) -> dict:
    """Members of a row: stream registers, issue buses, the way of text, and what its tiles say of wrong words and errors."""
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
        "issue_in": In(issue_bits).array(queues), "issue_out": Out(issue_bits).array(queues),
        "error": Out(1), "report": Out(Report()), "text_report": Out(Report()), **way_ports(queues),
    }


def row_wakes(row) -> list[Value]:
    """Inputs of :func:`row_ports` that open a clock gate."""
    return [*arrivals(row), *way_wakes(row)]


def stack_ports(queues: int, issue_bits: int, superlanes: int) -> dict:
    """Members of a column of rows: those of each row, and issue buses and the way of text below superlane 0."""
    return {
        "e_in": In(StreamSide()).array(superlanes), "w_in": In(StreamSide()).array(superlanes),
        "e_out": Out(StreamSide()).array(superlanes), "w_out": Out(StreamSide()).array(superlanes),
        "issue_in": In(issue_bits).array(queues), "error": Out(superlanes), "report": Out(Report()).array(superlanes),
        **column_ports(queues, superlanes),
    }


def stack(m: Module, column, rows: Sequence):
    """Add rows, south to north, to a column: ``row_<k>``. Instructions climb from row to row, text comes down."""
    issues = (column.issue_in, *(row.issue_out for row in rows))
    for k, (row, issue) in enumerate(zip(rows, issues)):
        m.submodules[f"row_{k}"] = row
        row.e_in, row.w_in = column.e_in[k], column.w_in[k]   # the same signals: assignments would cost time
        for name in ("e_out", "w_out", "report"):
            connect(m, getattr(row, name), flipped(getattr(column, name)[k]))
        m.d.comb += [port.eq(word) for port, word in zip(row.issue_in, issue, strict=True)]
        m.d.comb += column.error[k].eq(row.error)
    connect_column(m, column, rows)
