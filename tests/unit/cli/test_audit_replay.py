"""`fleet audit replay`: a forget done again from its manifest, with a verdict and an exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.lab.replay.codes import AuditCodes
from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.forgetting import canonical_json, forget_by_replay
from fleet.lab.replay.manifest import ReplayManifest
from tests.unit.engine.cohort_fleet import checkpoints_in, plan_of, samples_of, starts_of

TAG = "dora"


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory):
    """A forget that happened: nodes, the manifest's fields and the auditor's codes."""
    nodes, plan = samples_of(), plan_of()
    checkpoints = checkpoints_in(tmp_path_factory.mktemp("fleet"))
    before = train_cohort(plan, nodes, starts_of(nodes), on_checkpoint=lambda n, s: checkpoints.save(0, n, s))
    result = forget_by_replay(plan, nodes, starts_of(nodes), checkpoints, TAG)
    codes = AuditCodes.of(nodes, result.plan.entries)
    return nodes, json.loads(ReplayManifest.of(result, TAG, before, codes, [plan]).to_bytes()), codes


@pytest.fixture
def audited(forgotten, tmp_path):
    """Audit a manifest, changed as asked, against codes."""
    _, fields, codes = forgotten

    def run(change: dict[str, Any] | None = None, taken: AuditCodes = codes):
        taken.write(tmp_path / "codes")
        path = tmp_path / "manifest.json"
        path.write_bytes(canonical_json(fields | (change or {})) + b"\n")
        return CliRunner().invoke(app, ["audit", "replay", str(path), "--codes", str(tmp_path / "codes"), "-o", "json"])

    return run


def failed_lines(result) -> list[str]:
    return [line["name"] for line in json.loads(result.stdout)["lines"] if not line["holds"]]


def test_an_honest_forget_is_reproduced(audited):
    result = audited()

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["kind"], document["verdict"]) == ("ReplayAudit", "REPRODUCED")
    assert [line["name"] for line in document["lines"]][-2:] == [
        "digest before the person's entry",
        "digest after the forget",
    ]


def test_the_table_has_the_verdict(forgotten, tmp_path):
    _, fields, codes = forgotten
    codes.write(tmp_path / "codes")
    (tmp_path / "m.json").write_bytes(canonical_json(fields))

    result = CliRunner().invoke(app, ["audit", "replay", str(tmp_path / "m.json"), "--codes", str(tmp_path / "codes")])

    assert result.exit_code == 0
    assert "REPRODUCED" in result.stdout


@pytest.mark.parametrize("which", ["after", "entry_checkpoint"])
def test_another_digest_is_not_reproduced(audited, forgotten, which):
    result = audited({"digests": forgotten[1]["digests"] | {which: "ab" * 32}})

    assert result.exit_code == 1
    assert json.loads(result.stdout)["verdict"] == "NOT REPRODUCED"
    assert len(failed_lines(result)) == 1


def test_a_person_who_was_kept_after_all_is_found_out(audited, forgotten):
    _, fields, _ = forgotten
    # The cohort that still knows the person, passed off as the one after the forget.
    result = audited({"digests": fields["digests"] | {"after": fields["digests"]["before"]}})

    assert result.exit_code == 1
    assert failed_lines(result) == ["the forget changed the cohort"]


def test_codes_of_the_forgotten_person_must_be_gone(audited, forgotten):
    nodes, fields, _ = forgotten

    result = audited(taken=AuditCodes.of(nodes, [*fields["entries"], TAG]))

    assert result.exit_code == 1
    assert "nodes that still have codes of the forgotten person" in failed_lines(result)


def test_codes_other_than_those_committed_to_are_not_trained_on(audited, forgotten):
    _, _, codes = forgotten
    first = codes.nodes[0]
    other = first.people["anna"].inputs.clone()
    other[0, 0] += 1
    people = dict(first.people) | {"anna": replace(first.people["anna"], inputs=other)}
    forged = AuditCodes((replace(first, people=people), *codes.nodes[1:]), codes.salts)

    result = audited(taken=forged)

    assert result.exit_code == 1
    assert failed_lines(result) == ["codes that are not those committed to"]
    assert json.loads(result.stdout)["lines"][-1]["name"] == "the forget changed the cohort"


def test_steps_that_do_not_add_up_are_found_out(audited, forgotten):
    result = audited({"work": forgotten[1]["work"] | {"node_steps": 3}})

    assert result.exit_code == 1
    assert "training steps of the replay" in failed_lines(result)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "something-else"},
        {"surprise": 1},
        {"participation": [["east"]]},
        {"node_ids": ["../../etc/passwd"]},
        {"replay_from": 9},
        {"shard": "0"},
        {"kind": "reram-fleet/cohort-replay/v1"},
    ],
)
def test_what_is_no_manifest_is_refused(audited, change):
    result = audited(change)

    assert result.exit_code == 2
    assert "manifest" in result.stderr


def test_a_recipe_that_would_run_for_ever_is_refused(audited, forgotten):
    result = audited({"recipe": forgotten[1]["recipe"] | {"steps": 10**9}})

    assert result.exit_code == 2
    assert "are re-executed" in result.stderr


def test_an_edited_file_is_refused(forgotten, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(forgotten[1], indent=2))

    result = CliRunner().invoke(app, ["audit", "replay", str(path), "--codes", str(tmp_path)])

    assert result.exit_code == 2
    assert "not in canonical form" in result.stderr


@pytest.mark.parametrize("damage", ["missing", "garbage", "truncated"])
def test_codes_that_cannot_be_read_are_refused(forgotten, tmp_path, damage):
    _, fields, codes = forgotten
    codes.write(tmp_path / "codes")
    file = tmp_path / "codes" / "north.npz"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"no codes" if damage == "garbage" else file.read_bytes()[:200])
    (tmp_path / "m.json").write_bytes(canonical_json(fields))

    result = CliRunner().invoke(app, ["audit", "replay", str(tmp_path / "m.json"), "--codes", str(tmp_path / "codes")])

    assert result.exit_code == 2
    assert "north" in result.stderr


def test_a_manifest_has_nothing_of_a_person_but_tags_and_hashes(forgotten):
    _, fields, codes = forgotten
    text = canonical_json(fields).decode()

    assert not any(salt.hex() in text for salt in codes.salts.values())
    assert not any(TAG in key for key in fields["commitments"])
    assert TAG not in fields["entries"]
    assert all(len(value) == 64 for value in fields["commitments"].values())


def test_code_files_are_private_to_their_owner(forgotten, tmp_path):
    forgotten[2].write(tmp_path / "codes")

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "codes").iterdir()}
    assert modes == {0o600}
