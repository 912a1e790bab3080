"""One cocotb bench per slice and arithmetic block."""
