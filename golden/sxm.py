"""What the SXM instructions do to vectors, in numpy.

Whole vectors are uint8 arrays [event, image, lane]; all functions treat many events at once.
"""

import numpy as np

from isa.geometry import LANES


def shift(vectors: np.ndarray, amounts: np.ndarray, up: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Move each vector by its amount of lanes, to higher lanes where up is 1; free lanes get the fill byte."""
    lanes = vectors.shape[-1]
    source = np.arange(lanes) - np.where(up, amounts, -amounts)[:, None]
    inside = (source >= 0) & (source < lanes)
    moved = np.take_along_axis(vectors, np.where(inside, source, 0)[:, None, :], axis=2)
    return np.where(inside[:, None, :], moved, fill.astype(np.uint8)[:, None, None])


def select(vectors: np.ndarray, others: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Lane by lane the first vector where the mask is not 0, else the other."""
    return np.where(masks != 0, vectors, others)


def permute(vectors: np.ndarray, map_low: np.ndarray, map_high: np.ndarray) -> np.ndarray:
    """Lane l takes source lane map[l] = low + 256 * high; 0 if there is no such lane."""
    return _take(vectors, map_low.astype(np.int64) + 256 * map_high.astype(np.int64))


def distribute(vectors: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Within each superlane lane l takes lane map[l]; 0 where map[l] >= 16."""
    split = (*vectors.shape[:-1], -1, LANES)
    return _take(vectors.reshape(split), maps.reshape(split)).reshape(vectors.shape)


def rotate(vectors: np.ndarray, side: int) -> np.ndarray:
    """All rotations of the side x side block at the start of each superlane: [event, rotation, image, lane], rotation
    side*a + b being a rows up and b columns to the left; lanes beyond the block are 0."""
    split = vectors.reshape(*vectors.shape[:-1], -1, LANES)
    block = split[..., :side * side].reshape(*split.shape[:-1], side, side)
    turned = [np.roll(block, (-a, -b), axis=(-2, -1)) for a in range(side) for b in range(side)]
    out = np.zeros((len(turned), *split.shape), np.uint8)
    out[..., :side * side] = np.reshape(turned, (*out.shape[:-1], side * side))
    return np.moveaxis(out.reshape(len(turned), *vectors.shape), 0, 1)


def transpose(vectors: np.ndarray) -> np.ndarray:
    """Lane j of stream i to lane i of stream j in each superlane; [event, stream 0..15, image, lane]."""
    split = vectors.reshape(*vectors.shape[:-1], -1, LANES)
    return split.swapaxes(1, 4).reshape(vectors.shape)


def _take(vectors, source):
    inside = source < vectors.shape[-1]
    return np.take_along_axis(vectors, np.where(inside, source, 0), axis=-1) * inside.astype(np.uint8)
