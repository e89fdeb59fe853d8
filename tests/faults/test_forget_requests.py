"""Forgets that cannot be as they are asked for, and forgets that are asked for twice."""

from __future__ import annotations

import json

from reram_fleet.crypto.identifiers import new_tag

from tests.faults.rig import Rig

NOT_FOUND, CONFLICT = 3, 4


def test_unknown_person_is_a_clear_answer_and_changes_nothing(rig: Rig) -> None:
    generation = rig.client.get_fleet().generation
    done = rig.cli("forget", "create", "--subject", "nobody", "--yes")
    assert done.returncode == NOT_FOUND
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert rig.client.get_fleet().generation == generation


def test_unknown_tag_is_a_clear_answer_that_says_how_to_insist(rig: Rig) -> None:
    generation = rig.client.get_fleet().generation
    done = rig.cli("forget", "create", "--tag", new_tag(), "--yes")
    assert done.returncode == NOT_FOUND
    assert "no node has ever reported" in " ".join(done.stderr.split())
    assert "--allow-unknown" in done.stderr
    assert rig.client.get_fleet().generation == generation


def test_same_request_again_forgets_nothing_twice_and_another_body_is_a_conflict(rig: Rig) -> None:
    tag, other = rig.enrol(1), new_tag()
    request_id = new_tag()
    command = ("-o", "json", "--yes", "--request-id", request_id)
    first = rig.cli("forget", "create", "--tag", tag, *command)
    assert first.returncode == 0, first.stderr
    made = json.loads(first.stdout)
    assert made["created"] is True

    again = rig.cli("forget", "create", "--tag", tag, *command)
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["created"] is False
    assert (found["campaign_id"], found["generation"]) == (made["campaign_id"], made["generation"])

    changed = rig.cli("forget", "create", "--tag", other, "--allow-unknown", *command)
    assert changed.returncode == CONFLICT
    assert changed.stdout == ""
    assert "Traceback" not in changed.stderr
    assert rig.client.get_fleet().generation == made["generation"]
    rig.wait_converged(made["campaign_id"])
    assert rig.client.get_fleet().generation == made["generation"]
