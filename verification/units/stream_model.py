"""Stream registers and sampling in plain Python."""

from dataclasses import dataclass

from isa.geometry import STREAMS

WORD_BITS, LANE_BITS = 137, 160
SIZES = (1, 4, 16)    # sizes of the drive requests and of the samples


@dataclass
class Inputs:
    """incoming: driven words. drives: size -> (6-bit id of a stream of the aligned group, mask, words). samples: size -> 6-bit
    stream id."""

    incoming: dict
    drives: dict
    samples: dict

    def ports(self, size):
        group, mask, words = self.drives.get(size, (0, 0, ()))
        return {"drive": int(size in self.drives), "group": group, "mask": mask,
                "words": sum(word << WORD_BITS * i for i, word in enumerate(words)),
                "enable": int(size in self.samples), "stream": self.samples.get(size, 0)}


class StreamModel:
    """The eastward registers."""

    def __init__(self):
        self.shown = {}

    def step(self, inputs):
        self.shown = dict(inputs.incoming)
        for group, mask, words in inputs.drives.values():
            if group < STREAMS:
                first = group - group % len(words)
                self.shown |= {first + i: word for i, word in enumerate(words) if mask >> i & 1}

    def samples(self, inputs):
        """size -> (words, mask of the driven ones): eastward out of the incoming words, westward out of the registers."""
        found = {size: ([0] * size, 0) for size in SIZES}
        for size, stream in inputs.samples.items():
            side = inputs.incoming if stream < STREAMS else self.shown
            words = [side.get(stream % STREAMS + i) for i in range(size)]
            found[size] = (words, sum(1 << i for i, word in enumerate(words) if word is not None))
        return found


def random_inputs(rng) -> Inputs:
    """Drives of different sizes never meet, as in legal programs; those of 4 may drive a part of their group."""
    density = rng.choice((0.0, 0.1, 0.9, 1.0))
    incoming = {i: rng.getrandbits(WORD_BITS) for i in range(STREAMS) if rng.random() < density}
    drives, free = {}, set(range(STREAMS))
    for size in rng.sample(SIZES, len(SIZES)):
        groups = [g for g in range(0, STREAMS, size) if free.issuperset(range(g, g + size))]
        if not groups or rng.random() < 0.5:
            continue
        first = rng.choice(groups)
        free -= set(range(first, first + size))
        mask = rng.randrange(1, 1 << size) if size == 4 else (1 << size) - 1
        drives[size] = (first + rng.randrange(size) + rng.choice((0, 0, STREAMS)), mask, [rng.getrandbits(WORD_BITS) for _ in range(size)])
    samples = {size: rng.randrange(0, 2 * STREAMS, size) for size in SIZES if rng.random() < 0.6}
    return Inputs(incoming, drives, samples)
