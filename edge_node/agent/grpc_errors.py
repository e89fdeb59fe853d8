"""Answers of the EngineService, from what an engine found."""

from __future__ import annotations

from reram_fleet.v1.engine_pb2 import Answer

from edge_node.recognition.engine import Identification


def answers_of(found: Identification, node: int) -> list[Answer]:
    """Return a node's answer to each sample, in their order."""
    return [
        Answer(
            best_tag=best,
            score=score,
            accepted=accepted,
            best_tag_subject_only=subject_only,
            best_tag_without_head=without_head,
        )
        for best, score, accepted, subject_only, without_head in zip(
            found.best_tag[node],
            found.score[node].tolist(),
            found.accepted[node].tolist(),
            found.best_tag_subject_only[node],
            found.best_tag_without_head[node],
            strict=True,
        )
    ]
