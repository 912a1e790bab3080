"""The contract of the machine as data: geometry, streams, instructions, timing, programs and their static rules."""
