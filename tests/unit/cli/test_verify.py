"""`fleet verify`: a task or a stored report in, one verdict for each kind of adapter out."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.documents import API_VERSION


def verify(*arguments: str):
    return CliRunner().invoke(app, ["verify", *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One real run on JapaneseVowels: nine speakers, three chips, one person forgotten."""
    place = tmp_path_factory.mktemp("verify") / "new"
    result = verify("--task", "speakers", "--people", "1", "--output", str(place), "-o", "json")
    assert result.exit_code in (0, 1), result.stderr
    (place / "stdout.json").write_text(result.stdout)
    (place / "exit").write_text(str(result.exit_code))
    return place


@pytest.fixture
def stored(folder):
    return json.loads((folder / "verification.json").read_text())


def test_report_has_a_verdict_for_every_kind_of_adapter(folder, stored):
    assert (stored["api_version"], stored["kind"]) == (API_VERSION, "VerificationReport")
    assert json.loads((folder / "stdout.json").read_text()) == stored
    assert {verdict["kind"]: verdict["verdict"] for verdict in stored["verdicts"][:3]} == {
        "subject adapter": "EXACT",
        "closed-form head": "EXACT",
        "cohort LoRA": "EXACT",
    }
    assert stored["verdicts"][3]["verdict"].startswith("APPROXIMATE")
    assert stored["holds"] is (int((folder / "exit").read_text()) == 0)


def test_person_was_known_before_and_nobody_names_them_after(stored):
    (pair,) = stored["approximate"][0]["pairs"]
    assert pair["original"]["recognised_train"]["hits"] > 0.8 * pair["original"]["recognised_train"]["total"]
    assert pair["repaired"]["recognised_train"]["hits"] == pair["repaired"]["held"]["hits"] == 0
    assert pair["original"]["held"]["hits"] == pair["original"]["held"]["total"]
    assert pair["repaired"]["resurfaced"]["hits"] == 0
    for evidence in stored["exact"]:
        assert evidence["digest"] == evidence["never_enrolled"]
        assert evidence["recognised"]["hits"] == 0 < evidence["recognised"]["total"]
        assert evidence["canary"]["named_before"]["hits"] > 0 == evidence["canary"]["named_after"]["hits"]


def test_cohort_is_held_against_independent_executions_now_and_after_more_rounds(stored):
    cohort = next(evidence for evidence in stored["exact"] if evidence["kind"] == "cohort LoRA")
    names = [line["name"] for line in stored["verdicts"][2]["lines"]]

    assert cohort["later"]["found"] == cohort["later"]["expected"] != ""
    assert cohort["later_rounds"] == 10
    assert "integers after 10 more rounds, as if never enrolled" in names


def test_every_figure_of_forgetting_is_named_in_the_report(folder, stored):
    shared = [line["name"] for line in stored["verdicts"][3]["lines"]]
    for words in (
        "(1 - UA)",
        "(RA)",
        "(TA)",
        "loss attack",
        "confidence attack",
        "JS divergence",
        "entropy",
        "held on nodes",
        "more rounds",
        "average gap as published",
    ):
        assert [name for name in shared if words in name], words
    page = (folder / "verification.html").read_text()
    for words in ("canary named after", "equal error rate", "95 % interval", "Energy", "Cell writes: 0"):
        assert words in page


def test_forget_costs_joules_and_writes_no_cell(stored):
    assert stored["cell_writes"] == 0
    assert min(stored["energy_j"][phase] for phase in ("train", "erase", "verify", "radio")) > 0


def test_no_name_of_a_person_is_in_the_report(folder):
    for file in ("verification.json", "verification.html"):
        text = (folder / file).read_text()
        assert not [name for name in ("s01", "s03", "s04", "s05") if f'"{name}"' in text]


def test_stored_report_is_judged_anew_as_a_table(folder, stored):
    result = verify(str(folder / "verification.json"))

    assert result.exit_code == int((folder / "exit").read_text())
    for words in ("closed-form head: EXACT", "loss attack", "canary named after", "95 % interval"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout


def test_report_that_does_not_hold_is_exit_1_and_names_the_exact_path(stored, tmp_path):
    from fleet.lab.verification.report import VerificationReport

    stored["approximate"][0]["pairs"][0]["repaired"]["forget_loss"] = 1e-6
    body = {name: stored[name] for name in ("task", "exact", "approximate", "energy_j")}
    worse = VerificationReport.of_evidence(body)
    file = tmp_path / "worse.json"
    file.write_text(json.dumps(worse.document()))

    result = verify(str(file))

    assert result.exit_code == 1
    assert "APPROXIMATE, rejected" in result.stdout
    assert "detach the shared LoRA" in result.stderr


def test_report_with_a_verdict_written_in_by_hand_is_exit_2(stored, tmp_path):
    stored["exact"][0]["digest"] = "00"
    file = tmp_path / "forged.json"
    file.write_text(json.dumps(stored))

    result = verify(str(file))

    assert result.exit_code == 2
    assert "do not follow from its evidence" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("text", "says"), [("{", "not JSON"), ("[]", "not a verification report")])
def test_file_that_is_no_report_is_exit_2(tmp_path, text, says):
    file = tmp_path / "other.json"
    file.write_text(text)

    result = verify(str(file))

    assert result.exit_code == 2
    assert says in result.stderr


def test_missing_file_is_exit_3(tmp_path):
    assert verify(str(tmp_path / "none.json")).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "either a report or --task"),
        (["report.json", "--task", "speakers"], "either a report or --task"),
        (["--task", "gaits"], "known: faces, faces-64, faces-yale-b, fsdd, fsdd-8, images"),
        (["--task", "speakers", "--people", "4"], "one must be left"),
    ],
)
def test_what_cannot_be_verified_is_exit_2_with_what_can(arguments, says):
    result = verify(*arguments)

    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


def test_faces_without_the_photos_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("RERAM_FLEET_FACES", str(tmp_path))

    result = verify("--task", "faces")

    assert result.exit_code == 2
    assert "RERAM_FLEET_FACES" in result.stderr
