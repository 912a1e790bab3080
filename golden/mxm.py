"""What the MXM computes: int8 weights times int8 or uint8 activations, exact, as int32 modulo 2**32."""

import numpy as np

# products of 8-bit numbers summed over one plane stay far below 2**24, so float32 sums are exact in any order
_EXACT_LANES = 2**24 // (255 * 128)


def products(activations: np.ndarray, unsigned: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Result vectors of matrices, each with the same number of activation vectors.

    activations: uint8 bytes [matrix, vector, image, lane]. unsigned: bool [matrix, vector], how to read them.
    columns: uint8 bytes of int8 weights [matrix, column, image, lane], lane = input index.
    Returns uint32 [matrix, vector, image, column].
    """
    lanes = activations.shape[-1]
    if lanes > _EXACT_LANES:
        raise ValueError(f"a sum over {lanes} lanes is not exact in float32")
    a = activations.astype(np.float32)
    np.subtract(a, 256, out=a, where=(activations >= 128) & ~unsigned[:, :, None, None])
    w = columns.view(np.int8).astype(np.float32)
    sums = np.matmul(a.transpose(0, 2, 1, 3), w.transpose(0, 2, 3, 1))
    return sums.astype(np.int32).view(np.uint32).transpose(0, 2, 1, 3)
