from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import fleet.learning.flower_command as flower_command
from fleet.learning.errors import FlowerApiError, FlowerCommandError, RunNotFoundError, SuperLinkUnreachableError
from fleet.learning.flower_command import FlowerCommand, RunInfo, last_json_object


@pytest.fixture
def command(tmp_path: Path) -> FlowerCommand:
    return FlowerCommand(tmp_path / "home", "fleet")


@pytest.fixture
def flwr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets what `flwr` does; its arguments land in a file."""
    script = tmp_path / "flwr"
    monkeypatch.setattr(flower_command, "program", lambda name: str(script))

    def does(body: str) -> Path:
        script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n{body}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "arguments"

    return does


def says(answer: object, code: int = 0) -> str:
    return f"cat <<'END'\n{json.dumps(answer, indent=2)}\nEND\nexit {code}"


def refuses(reason: str) -> str:
    return says({"success": False, "error-message": reason}, code=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Note: something {odd}\n{\n "a": {"b": "}"}\n}\n', {"a": {"b": "}"}}),
        ('{"a": 1}\n{"a": 2}', {"a": 2}),
        ("nothing here", None),
        ('{"a": ', None),
    ],
)
def test_the_answer_is_found_among_other_lines(text: str, expected: object) -> None:
    assert last_json_object(text) == expected


def test_a_job_travels_in_a_file_whatever_its_path_looks_like(command: FlowerCommand, flwr, tmp_path) -> None:
    arguments = flwr(f'cp "$5" {tmp_path}/overrides\n' + says({"success": True, "run-id": "17446744073709551615"}))
    token_file = tmp_path / "a 'token\" file"

    run_id = command.submit(tmp_path / "app", "job-1", 3, "127.0.0.1:5", tmp_path / "ca.pem", token_file)

    assert run_id == 17446744073709551615
    assert arguments.read_text().startswith(f"run {tmp_path}/app fleet --run-config ")
    overrides = flower_command_toml(tmp_path / "overrides")
    files = {"ca-file": f"{tmp_path}/ca.pem", "token-file": str(token_file)}
    assert overrides == {"job-id": "job-1", "attempt": 3, "coordinator": "127.0.0.1:5", **files}
    assert [path.name for path in tmp_path.glob("*.toml")] == []


def flower_command_toml(path: Path) -> dict[str, object]:
    import tomllib

    return tomllib.loads(path.read_text())


def test_the_status_of_a_run_is_read(command: FlowerCommand, flwr) -> None:
    run = {"run-id": "7", "status": "finished:failed", "status-details": "No heartbeat"}
    flwr(says({"success": True, "runs": [run]}))

    status = command.run_status(7)

    assert status == RunInfo(7, "finished:failed", "No heartbeat")
    assert status.finished


@pytest.mark.parametrize("reason", ["[code: 16] Run ID not found.", "[code: 18] Run is already finished."])
def test_stopping_a_run_that_is_over_or_lost_is_no_error(command: FlowerCommand, flwr, reason: str) -> None:
    arguments = flwr(refuses(reason))

    command.stop(7)

    assert arguments.read_text() == "stop 7 fleet --format json\n"


def test_stopping_a_run_that_flower_refuses_to_stop_is_an_error(command: FlowerCommand, flwr) -> None:
    flwr(refuses("[code: 5] Not yours."))

    with pytest.raises(FlowerApiError, match="Not yours"):
        command.stop(7)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("Listing...\n[code: 16] Run ID not found.", RunNotFoundError),
        ("Connection to the SuperLink is unavailable. Please check", SuperLinkUnreachableError),
        ("[code: 23] Public key already in use", FlowerApiError),
    ],
)
def test_refusals_are_told_apart(command: FlowerCommand, flwr, reason: str, error: type[Exception]) -> None:
    flwr(refuses(reason))

    with pytest.raises(error, match="flwr ls"):
        command.run_status(7)


def test_a_crash_of_the_command_shows_its_last_words(command: FlowerCommand, flwr) -> None:
    flwr("echo 'ImportError: no module' >&2; exit 3")

    with pytest.raises(FlowerCommandError, match=r"code 3 and no JSON answer: ImportError: no module"):
        command.run_status(7)


def test_a_command_that_hangs_is_ended_with_its_children(command: FlowerCommand, flwr) -> None:
    # Without the end of the child its open pipe would hold the caller for a minute.
    flwr("sleep 60 & sleep 60")

    with pytest.raises(FlowerCommandError, match="no answer within"):
        command("ls", timeout_s=0.3)
