"""Average of a round without a Flower run: what stock FedAvg and the fleet's codec make of what nodes send back."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Array, ArrayRecord
from reram_fleet.wire.lora_states import StateArrays

from edge_node.recognition.engine import RoundResult
from fleet.learning.state_codec import StateCodec, record_of


def averaged(before: StateArrays, results: Sequence[RoundResult]) -> StateArrays:
    """Return the state after a round; what nobody trained is as it was before."""
    total = sum(result.num_examples for result in results)
    records = [(record_of(StateArrays.decode(r.state)), r.num_examples / total) for r in results]
    mean = {key: Array(sum(record[key].numpy() * share for record, share in records)) for key in records[0][0]}
    return StateCodec("", b"", before).averaged(before, ArrayRecord(mean), total, len(results))
