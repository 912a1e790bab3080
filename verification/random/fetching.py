"""Random programs of which part of the text comes by Ifetch."""

from compiler.fetch import fetched
from isa.program import Program

QUEUES = 16      # that fetch, where texts differ in length; more leave too little room in a small program
SHORTEST = 16    # text that a queue keeps in any case


def fetching(program: Program, queues: int = QUEUES) -> Program:
    """The program with the ends of its longest texts in MEM; it does the same in the same cycles."""
    lengths = sorted(map(len, program.texts.values()), reverse=True)
    return fetched(program, max(SHORTEST, lengths[min(queues, len(lengths)) - 1]))
