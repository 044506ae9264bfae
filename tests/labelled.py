"""Random labelled pictures and what a detector might say of them."""

from pathlib import Path

import numpy as np

from onelook.data.sample import Sample
from onelook.metrics import Found

SIDE = 200


def picture(
    random: np.random.Generator, objects: int, detections: int, classes: int, difficult: bool = False
) -> tuple[Sample, Found]:
    """Objects of all sizes, some of them crowds, some difficult; detections that are moved objects or anything.

    Scores have ties. Boxes are in eighths of a pixel, which are the same numbers in float32, float64 and decimals.
    """

    def boxes(count: int) -> np.ndarray:
        size = random.choice([4, 20, 60, 150], (count, 2)) * random.uniform(0.5, 1.3, (count, 2))
        corner = random.uniform(0, SIDE - size)
        return eighths(np.hstack((corner, corner + size)))

    def eighths(values: np.ndarray) -> np.ndarray:
        return (np.round(8 * values) / 8).astype(np.float32)

    truth, kinds = boxes(objects), random.integers(0, classes, objects)
    found, found_kinds = boxes(detections), random.integers(0, classes, detections)
    for i in range(detections if objects else 0):
        if random.random() < 0.7:
            of = random.integers(objects)
            found[i] = truth[of] + eighths(random.normal(0, random.choice([0, 1, 5]), 4))
            found[i, 2:] = np.maximum(found[i, 2:], found[i, :2] + 1)
            found_kinds[i] = kinds[of] if random.random() < 0.8 else found_kinds[i]
    scores = random.integers(0, 20, detections) / 20
    crowd = random.random(objects) < 0.2
    hard = (random.random(objects) < 0.2) & ~crowd & difficult
    share = random.choice([0.5, 0.75, 1], objects)  # of its box that an object fills
    areas = ((truth[:, 2:] - truth[:, :2]).prod(1) * share).astype(np.float32)
    sample = Sample(Path("x.jpg"), SIDE, SIDE, truth, kinds, difficult=hard, crowd=crowd, areas=areas)
    return sample, Found(found, scores, found_kinds)


def pictures(seed: int, count: int, classes: int, difficult: bool = False) -> tuple[list[Sample], list[Found]]:
    """Some of them, at random."""
    random = np.random.default_rng(seed)
    made = [picture(random, random.integers(0, 8), random.integers(0, 20), classes, difficult) for _ in range(count)]
    return [sample for sample, _ in made], [found for _, found in made]
