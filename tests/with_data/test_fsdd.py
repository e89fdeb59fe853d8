"""The real spoken digits (FSDD): all of the set is read."""

from __future__ import annotations

from edge_node.tasks.fsdd import load_recordings


def test_the_set_has_fifty_takes_of_each_digit():
    recordings = load_recordings()

    assert {len(mine) for mine in recordings.values()} == {500}
    lengths = [len(r.recording) for mine in recordings.values() for r in mine]
    assert (min(lengths), max(lengths)) == (1_148, 18_262)
