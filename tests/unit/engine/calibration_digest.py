"""Program that prints the digest of a calibration, and of all that training asks of it, bit by bit."""

from __future__ import annotations

import hashlib
import sys

import torch

from edge_node.recognition.score_calibration import ScoreCalibration

PEOPLE, SAMPLES, FEATURES, RANK = 6, 7, 130, 5


def calibration_digest() -> str:
    """Calibrate two chips on made-up codes, and compare and map made-up vectors."""
    random = torch.Generator().manual_seed(8)

    def codes(*shape: int, reach: int) -> torch.Tensor:
        return torch.randint(-reach, reach, shape, generator=random)

    person = torch.arange(PEOPLE).repeat_interleave(SAMPLES)
    public = codes(2, PEOPLE, 1, FEATURES, reach=900) + codes(2, PEOPLE, SAMPLES, FEATURES, reach=300)
    calibration = ScoreCalibration.fit(public.reshape(2, PEOPLE * SAMPLES, FEATURES).int(), person)
    chip, signs = calibration.whitening.chip(1), codes(RANK, FEATURES, reach=2)
    these, those = chip.of(codes(20, FEATURES, reach=900)), chip.of(codes(9, FEATURES, reach=9000))
    found = [
        calibration.accept_threshold,
        calibration.typical_length,
        calibration.whitening.axes,
        calibration.whitening.pivots,
        chip.cosine(these, those),
        chip.cosine(chip.public, those),
        chip.paired_cosine(these[:9], those),
        chip.mapped(these, signs),
        chip.mapped(chip.public, signs),
    ]
    return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in found)).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(calibration_digest())
