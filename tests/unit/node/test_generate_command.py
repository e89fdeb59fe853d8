"""`edge-node generate`: images into a file, or the reason why not."""

from __future__ import annotations

import numpy as np
import pytest
from reram_fleet.v1 import engine_pb2
from typer.testing import CliRunner

from edge_node import cli
from edge_node.errors import RefusedError

TAG = "a" * 32
GENERATED = engine_pb2.GenerateResponse(levels=bytes(range(96)), rows=4, columns=4, channels=3)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command against an engine that gives this answer; returns result, requests and file."""

    def run_it(answer, *arguments):
        asked = []

        def call(state, method, request):
            asked.append((method, request))
            return answer

        monkeypatch.setattr(cli, "_call", call)
        file = tmp_path / "images.npz"
        command = ["generate", "--state", str(tmp_path), "--output", str(file), *arguments]
        return CliRunner().invoke(cli.app, command), asked, file

    return run_it


def test_images_are_written_as_colour_levels(run):
    result, asked, file = run(GENERATED, "--tag", TAG, "--style", "night", "--count", "2", "--seed", "7")

    assert result.exit_code == 0
    assert asked == [("Generate", engine_pb2.GenerateRequest(subject_tag=TAG, style="night", count=2, seed=7))]
    with np.load(file) as archive:
        assert archive["levels"].shape == (2, 4, 4, 3)
        assert archive["levels"].tobytes() == GENERATED.levels


def test_refusal_is_an_error_with_its_reason_and_no_file(run):
    refused = engine_pb2.GenerateResponse(refusal=engine_pb2.TAG_REFUSAL_FORGOTTEN_TAG)

    result, _, file = run(refused, "--tag", TAG)

    assert isinstance(result.exception, RefusedError)
    assert "FORGOTTEN_TAG" in str(result.exception)
    assert not file.exists()


@pytest.mark.parametrize("arguments", [(), ("--tag", TAG, "--class", "cat")])
def test_tag_or_class_is_asked_for_and_not_both(run, arguments):
    result, asked, _ = run(GENERATED, *arguments)

    assert result.exit_code == 2
    assert asked == []
