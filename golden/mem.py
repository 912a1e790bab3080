"""What the MEM instructions do to values: reads, writes and their indirect forms, in numpy.

`memory` is a uint8 array [image, slice, word, superlane, lane], slices numbered west 0..M-1, then east 0..M-1. Vectors
are uint8 arrays [event, image, superlane, lane]. All functions treat many events at once; the caller sees to it that no
event of a call touches a word that another one writes.
"""

import numpy as np


def read(memory: np.ndarray, slices: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Read: one word of each event."""
    return memory.transpose(1, 2, 0, 3, 4)[slices, words]


def write(memory: np.ndarray, slices: np.ndarray, words: np.ndarray, data: np.ndarray):
    """Write: store one vector of each event."""
    memory[:, slices, words] = data.swapaxes(0, 1)


def map_index(maps: np.ndarray) -> np.ndarray:
    """Index of each superlane, int64 [event, image, superlane]: lane 0 + 256 * lane 1 of the map."""
    return maps[..., 0].astype(np.int64) + 256 * maps[..., 1].astype(np.int64)


def _targets(memory, maps, starts, bases, limits):
    """(whether the word lies in the range, its address), both [event, image, superlane]."""
    relative = map_index(maps) - bases[:, None, None]
    inside = (relative >= 0) & (relative < limits[:, None, None])
    return inside, (starts[:, None, None] + relative) % memory.shape[2]


def gather(memory: np.ndarray, slices: np.ndarray, starts: np.ndarray, bases: np.ndarray, limits: np.ndarray,
           maps: np.ndarray) -> np.ndarray:
    """Gather: in each superlane the word start + (index - base), zeros if index - base is outside 0 .. limit-1."""
    inside, words = _targets(memory, maps, starts, bases, limits)
    _, image, superlane = np.indices(inside.shape, sparse=True)
    return memory[image, slices[:, None, None], words, superlane] * inside[..., None].astype(np.uint8)


def scatter(memory: np.ndarray, slices: np.ndarray, starts: np.ndarray, bases: np.ndarray, limits: np.ndarray,
            maps: np.ndarray, data: np.ndarray):
    """Scatter: in each superlane store to the word start + (index - base), nothing if that is outside 0 .. limit-1."""
    inside, words = _targets(memory, maps, starts, bases, limits)
    event, image, superlane = np.nonzero(inside)
    memory[image, slices[event], words[inside], superlane] = data[inside]
