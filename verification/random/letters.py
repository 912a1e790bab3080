"""What the host puts into the input mailboxes before a random program runs."""

import numpy as np


def letters(plan, seed: int, images: int = 1) -> list[np.ndarray]:
    """As many random vectors as the plan's program takes, as golden.chip.execute takes them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (count, images, plan.geometry.lanes), np.uint8) for count in plan.takes]


def push(machine, inbox: list[np.ndarray], image: int = 0):
    """Put the vectors of an image into the mailboxes of a machine."""
    for hemisphere, vectors in enumerate(inbox):
        for vector in vectors[:, image]:
            machine.push(hemisphere, vector.tobytes())
