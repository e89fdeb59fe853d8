"""Made-up people for heads: clusters of integer codes, seen through a few slightly different chips."""

import numpy as np

from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.packing import pack_statistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics

FEATURES, NODES, SAMPLES = 40, 3, 4
#: Of the equation that `problem` states.
UNKNOWNS = 200
TAGS = ("ada", "bob", "cyd", "dan", "eve", "fay")


class Crowd:
    """Six people to enrol, five public people and their samples on three chips."""

    def __init__(self, seed=5):
        generator = np.random.default_rng(seed)
        self._chips = generator.normal(0, 12, (NODES, 1, FEATURES))
        self._generator = generator
        public = [self._seen(generator.normal(0, 200, FEATURES), 6) for _ in range(5)]
        codes = np.concatenate(public, axis=1)
        codes = (codes - np.rint(codes.mean(axis=1, keepdims=True))).astype(np.int32)
        self.public = PublicCodes(codes, np.repeat(np.arange(5), 6))
        self.samples = {tag: self._seen(generator.normal(0, 200, FEATURES), SAMPLES + 3) for tag in TAGS}
        self.places = {tag: tuple(range(k % NODES, NODES)) for k, tag in enumerate(TAGS)}

    def _seen(self, centre, count):
        noise = self._generator.normal(0, 60, (1, count, FEATURES))
        return np.rint(centre + noise + self._chips).astype(np.int32)

    def taken(self, tag):
        """Training codes by node: each sample is taken by one of the person's nodes."""
        where = self.places[tag]
        return {node: self.samples[tag][node, k : SAMPLES : len(where)] for k, node in enumerate(where)}

    def packed(self, tags=TAGS):
        """Packed statistics of each person and node, by tag."""
        return [(tag, pack_statistics(HeadStatistics.of(x))) for tag in tags for x in self.taken(tag).values()]

    def enrolled(self, tags=TAGS):
        return SufficientStatistics.of_packed(self.public, self.packed(tags))

    def asked(self):
        """Samples that nobody learned from, and whose they are."""
        codes = np.concatenate([self.samples[tag][:, SAMPLES:] for tag in TAGS], axis=1)
        return codes, np.repeat(TAGS, codes.shape[1] // len(TAGS))


def problem(people=12, samples=5, seed=4):
    """Gram matrix and targets, as a head is solved from."""
    generator = np.random.default_rng(seed)
    crowd = [generator.integers(-2000, 2001, (samples, UNKNOWNS)) for _ in range(people)]
    gram = HeadStatistics.of(np.concatenate(crowd)).gram
    return gram, np.stack([codes.sum(axis=0) for codes in crowd], axis=1)
