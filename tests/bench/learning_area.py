"""Figures of learning, forgetting and verifying, each on seeds that chose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.bench import (
    learning_batch,
    learning_cohorts,
    learning_continual,
    learning_faces,
    learning_images,
    learning_metrics,
    learning_open_set,
    learning_paper,
    learning_small,
    learning_speakers,
)
from tests.bench.figure import Figure

SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "faces": learning_faces.faces_figures,
    "open set": learning_open_set.open_set_figures,
    "exact forgets": learning_faces.exact_figures,
    "cohort LoRA in the fleet": learning_cohorts.fleet_cohort_figures,
    "judged metrics": learning_metrics.metrics_figures,
    "continual learning": learning_continual.continual_figures,
    "batch of nodes": learning_batch.batch_figures,
    "small chips": learning_small.small_chips_figures,
    "exact states": learning_small.exact_states_figures,
    "images": learning_images.images_figures,
    "erased concepts": learning_images.concepts_figures,
    "speakers": learning_speakers.speakers_figures,
    "paper's protocol": learning_paper.paper_figures,
}
