"""Made-up voices: harmonics of a pitch under two formants, with a little noise. Nobody's."""

import numpy as np

RATE = 8_000


def voice(pitch_hz, formants_hz, seed, seconds=0.4, loudness=0.2):
    """One utterance, float32 [samples, 1]: the formants move a little, as in a word."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    glide = 1 + 0.1 * np.sin(2 * np.pi * generator.uniform(1, 3) * time + generator.uniform(0, 6))
    sound = np.zeros_like(time)
    for k in range(1, int(3_800 / pitch_hz)):
        gain = sum(np.exp(-(((k * pitch_hz - f * glide) / 200) ** 2)) for f in formants_hz)
        sound += gain * np.sin(2 * np.pi * k * pitch_hz * time + generator.uniform(0, 6))
    sound = sound / np.abs(sound).max() + generator.normal(0, 0.01, len(time))
    return (loudness * sound / np.abs(sound).max()).astype(np.float32)[:, None]


def voices(count, seed=1):
    """Utterances of different made-up people and lengths."""
    generator = np.random.default_rng(seed)
    return [
        voice(
            generator.uniform(90, 220),
            generator.uniform([300, 1_200], [900, 2_800]),
            seed=100 * seed + k,
            seconds=generator.uniform(0.2, 0.6),
        )
        for k in range(count)
    ]
