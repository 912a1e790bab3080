"""Arithmetic units of one lane: small, pure and pipelined, one component a file.

Common contract. A unit takes a new operation every cycle. Its `latency` is the number of register stages between its inputs and its
output `y`: `y` in cycle t belongs to the inputs of cycle t - latency. The last stage is combinational, so that the reader's result
register is the last stage of the pipeline: an operation takes `latency + 1` execute stages (`isa.timing.ALU_STAGES`). Nothing is reset
and nothing depends on a valid bit. All words are 32 bits: two's complement integers, or the bits of an IEEE 754 binary32 number.
"""
