"""Operands that find faults: special values, all pairs of them, and random words of several distributions."""

import numpy as np

SPECIAL = np.array(sorted({sign | word for sign in (0, 0x80000000) for word in (
    0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x00400000, 0x007FFFFE, 0x007FFFFF,       # zero and subnormals
    0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000, 0x0BFFFFFF, 0x0C000000,                   # least normals
    0x20000000, 0x1FFFFFFF, 0x2D3504F3, 0x337FFFFF, 0x33800000, 0x33800001, 0x34000000,       # halves of an ulp of 1
    0x3EFFFFFF, 0x3F000000, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FC00000,       # about 1/2, 1, 3/2
    0x3FFFFFFF, 0x40000000, 0x40200000, 0x40400000, 0x40490FDB, 0x42FE0000, 0x42FF0000,       # 2, 5/2, 3, pi, 127, 127.5
    0x42FEFFFF, 0x42FF0001, 0x43000000, 0x43008000, 0x43010000, 0x4B000001, 0x4B7FFFFF,       # 128, 128.5, 129, 2**23
    0x4B800000, 0x4B800001, 0x4EFFFFFF, 0x4F000000, 0x4F000001, 0x4F7FFFFF, 0x4F800000,       # 2**24, 2**31, 2**32
    0x42FC0000, 0x42FBFFFF, 0x43150000, 0x4314FFFF, 0x43150001, 0x43160000, 0x4315FFFF,       # 126, 149, 150
    0x43160001, 0x43170000, 0x43800000, 0x43000001, 0x42FFFFFF,                               # 151, 256
    0x5F3504F3, 0x5F800000, 0x7E800000, 0x7EFFFFFF, 0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF,       # greatest numbers
    0x477FE000, 0x477FEFFF, 0x477FF000, 0x47800000, 0x38800000, 0x387FC000, 0x387FFFFF,       # fp16: 65504, 65520, 2**16, 2**-14
    0x33000000, 0x33000001, 0x33C00000, 0x33BFFFFF, 0x38000000, 0x00007BFF, 0x00007C00,       # 2**-25, 1.5 * 2**-24, 2**-15, inf
    0x00007C01, 0x000003FF, 0x00000400, 0x00008000, 0x0000FC00, 0x00007FFF, 0xFFFF8000,       # fp16 words, int16
    0x46FFFE00, 0x46FFFF00, 0x47000000, 0x0000B504, 0x0000B505, 0x00010000,                   # int16; the root of 2**31, 2**16
    0x41102CB3, 0x41102CB4, 0x41000000, 0x40FFFFFF, 0x40800000, 0x407FFFFF, 0x41800000,       # tanh: 9.01, 8, 4, 16
    0x41080000, 0x410FFFFF, 0x39800000, 0x397FFFFF, 0x3C000000, 0x3BFFFFFF,                   # tanh: 8.5, 9, 2**-12, 2**-7
    0x7F800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FC00001, 0x7FFFFFFF,                   # infinity, NaN
    0x0000001F, 0x00000020, 0x00000021, 0x0000007F, 0x00000080, 0x00000081, 0x000000FF,       # integers: shifts, int8
    0x00FFFFFE, 0x01000001, 0x01000003, 0x01FFFFFF, 0x02000001, 0x02000002, 0x55555555, 0x7FFFFF80, 0x7FFFFF40, 0x7FFFFFBF,
    0x7FFFFFC0)} | {0xFFFFFFFF - word for word in (0, 1, 31, 127, 128, 255)}), np.uint32)


def special_pairs() -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of special values."""
    a, b = np.meshgrid(SPECIAL, SPECIAL, indexing="ij")
    return a.ravel(), b.ravel()


def words(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random words: a third uniform, a third fp32 of moderate size with sparse fractions, a third with few significant integer bits."""
    uniform = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    fraction = uniform & np.uint32(0x7FFFFF) & rng.integers(0, 1 << 32, count, dtype=np.uint32)
    exponent = rng.integers(127 - 30, 127 + 34, count, dtype=np.uint32) << np.uint32(23)
    moderate = uniform & np.uint32(0x80000000) | exponent | fraction
    small = (uniform.view(np.int32) >> rng.integers(0, 32, count, dtype=np.int32)).view(np.uint32)
    return np.choose(rng.integers(0, 3, count), [uniform, moderate, small])


def near(rng: np.random.Generator, a: np.ndarray) -> np.ndarray:
    """For every fp32 word one of an exponent that differs by at most 26, of any sign: cancellation, ties and sticky bits."""
    exponent = (a >> np.uint32(23) & np.uint32(255)).astype(np.int64) + rng.integers(-26, 27, len(a))
    fraction = rng.integers(0, 1 << 23, len(a)) & rng.choice([0x7FFFFF, 0x7FF000, 0x000FFF, 1, 0], len(a))
    fraction = np.where(rng.random(len(a)) < 0.3, a & np.uint32(0x7FFFFF), fraction)
    sign = rng.integers(0, 2, len(a)) << 31
    return (sign | np.clip(exponent, 0, 255) << 23 | fraction).astype(np.uint32)


def balanced(rng: np.random.Generator, a: np.ndarray) -> np.ndarray:
    """For every fp32 word one that brings their product near the least or the greatest numbers."""
    target = rng.choice([127 - 149, 127 - 137, 127 - 126, 127, 127 + 127], len(a)) + rng.integers(-2, 3, len(a))
    exponent = np.clip(target + 127 - (a >> np.uint32(23) & np.uint32(255)).astype(np.int64), 0, 254)
    return (rng.integers(0, 2, len(a)) << 31 | exponent << 23 | rng.integers(0, 1 << 23, len(a))).astype(np.uint32)


def pairs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At least `count` operand pairs: all pairs of special values, special values with random words, and random pairs."""
    special_a, special_b = special_pairs()
    quarter = -(-max(count - len(special_a), 0) // 4)
    first = [words(rng, quarter) for _ in range(4)]
    second = [words(rng, quarter), near(rng, first[1]), balanced(rng, first[2]), rng.choice(SPECIAL, quarter)]
    return np.concatenate([special_a, *first]), np.concatenate([special_b, *second])


def halves(rng: np.random.Generator) -> np.ndarray:
    """Every fp16 word in the low half, sixteen times: with 0, its sign and arbitrary words in the upper half."""
    low = np.arange(1 << 16, dtype=np.uint32)
    upper = rng.integers(0, 1 << 16, (14, 1 << 16), dtype=np.uint32) << np.uint32(16)
    return np.concatenate([low, low.astype(np.uint16).view(np.int16).astype(np.int32).view(np.uint32), (upper | low).ravel()])


def about_halves(rng: np.random.Generator) -> np.ndarray:
    """fp32 words about every fp16 number and every tie between neighbours (the tie to infinity too): itself, and the nearest on
    both sides. Both signs."""
    numbers = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    ties = (numbers + np.append(numbers[1:], 2.0**16)) / 2
    words = np.concatenate([numbers, ties]).astype(np.float32).view(np.uint32)
    words = np.concatenate([words, words + np.uint32(1), words[words > 0] - np.uint32(1)])
    return np.concatenate([words, words | np.uint32(1 << 31)])


def tanh_range(rng: np.random.Generator) -> np.ndarray:
    """Every 61st or so of the fp32 words whose tanh is neither the word itself nor 1, and some on both sides; both signs."""
    words = np.arange(0x39000000 + int(rng.integers(61)), 0x41200000, 61, dtype=np.uint32)
    return words | rng.integers(0, 2, len(words), dtype=np.uint32) << np.uint32(31)
