"""Figures of learning, forgetting and verifying: the three workloads, each on seeds that chose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from rich.console import Console

from tests.bench import learning_cohorts, learning_faces, learning_images, learning_repair, learning_speakers
from tests.bench.figure import Figure

SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "faces": learning_faces.faces_figures,
    "exact forgets": learning_faces.exact_figures,
    "federated LoRA": learning_faces.lora_figures,
    "cohort LoRA": learning_faces.cohort_figures,
    "cohort LoRA in the fleet": learning_cohorts.fleet_cohort_figures,
    "approximate repair": learning_repair.repair_figures,
    "images": learning_images.images_figures,
    "speakers": learning_speakers.speakers_figures,
}


def figures() -> list[Figure]:
    """Measure every workload; minutes each. The faces are read as `edge_node.tasks.faces` says."""
    torch.set_num_threads(1)
    measured: list[Figure] = []
    for name, section in SECTIONS.items():
        Console(stderr=True).print(f"{name} ...")
        measured += section()
    return measured
