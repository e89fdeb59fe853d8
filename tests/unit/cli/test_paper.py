"""`fleet paper run`: a task in; table, page, plot and JSON out."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.documents import API_VERSION
from fleet.lab.paper import images
from fleet.lab.paper.images import ImagesArm, ImagesPaperRun

PUBLISHED = ImagesArm(3, True, 0.99, 0.98, 0.9, 0.97, 0.99, True, 0)
HONEST = ImagesArm(3, False, 0.96, 0.99, 0.95, 0.99, 0.05, True, 0)


def paper(*arguments: str):
    return CliRunner().invoke(app, ["paper", "run", *arguments])


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    monkeypatch.setattr(images, "run", lambda seed, progress: ImagesPaperRun(PUBLISHED, HONEST))


def test_table_has_the_paper_both_arms_and_the_strip_test():
    result = paper("--task", "images", "--seeds", "2")

    assert result.exit_code == 0, result.stderr
    for words in ("paper", "ours, as published", "ours, honest", "STRIP TEST", "not tested", "as programmed"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout


def test_folder_gets_page_plot_and_document_and_stdout_the_same_document(tmp_path):
    result = paper("--task", "images", "--output", str(tmp_path / "new"), "-o", "json")

    assert result.exit_code == 0, result.stderr
    body = json.loads(result.stdout)
    assert (body["api_version"], body["kind"], body["task"]) == (API_VERSION, "PaperProtocol", "images")
    assert json.loads((tmp_path / "new" / "paper-images.json").read_text()) == body
    page = (tmp_path / "new" / "paper-images.md").read_text()
    assert "**STRIP TEST: class shows, adapters off** | not tested | 0.990" in page
    assert body["findings"][0] in page
    assert "(paper-images.svg)" in page
    assert (tmp_path / "new" / "paper-images.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "gaits"], "Known: faces, speakers, images"),
        (["--task", "images", "--seeds", "4"], "Give --seeds 1 to 3"),
        (["--task", "images", "--seeds", "0"], "--seeds"),
    ],
)
def test_what_cannot_be_run_is_exit_2_with_what_can(arguments, says):
    result = paper(*arguments)

    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


def test_faces_without_the_photos_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("RERAM_FLEET_FACES", str(tmp_path))

    result = paper("--task", "faces", "--output", str(tmp_path / "out"))

    assert result.exit_code == 2
    assert "RERAM_FLEET_FACES" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_exit_2(tmp_path):
    (tmp_path / "file").write_text("")

    result = paper("--task", "images", "--output", str(tmp_path / "file" / "below"))

    assert result.exit_code == 2
    assert "cannot write" in result.stderr
