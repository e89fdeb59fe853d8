from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import fleet.learning.flower_command as flower_command
from fleet.learning.errors import FlowerApiError, FlowerCommandError, RunNotFoundError, SuperLinkUnreachableError
from fleet.learning.flower_command import FlowerCommand, last_json_object
from fleet.learning.submit import run_status, stop, submit
from fleet.learning.superlink import RunInfo


class OneCommandSuperLink:
    """A SuperLink whose `flwr` is a shell script."""

    def __init__(self, folder: Path) -> None:
        self.command = FlowerCommand(folder / "home", "fleet")
        self.app_folder = folder / "app"


@pytest.fixture
def superlink(tmp_path: Path) -> OneCommandSuperLink:
    return OneCommandSuperLink(tmp_path)


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


def test_a_job_travels_in_a_file_whatever_its_path_looks_like(superlink: OneCommandSuperLink, flwr, tmp_path) -> None:
    arguments = flwr(f'cp "$5" {tmp_path}/overrides\n' + says({"success": True, "run-id": "17446744073709551615"}))
    token_file = tmp_path / "a 'token\" file"

    run_id = submit(superlink, "job-1", 3, "127.0.0.1:5", token_file)

    assert run_id == 17446744073709551615
    assert arguments.read_text().startswith(f"run {superlink.app_folder} fleet --run-config ")
    overrides = flower_command_toml(tmp_path / "overrides")
    assert overrides == {"job-id": "job-1", "attempt": 3, "coordinator": "127.0.0.1:5", "token-file": str(token_file)}
    assert [path.name for path in tmp_path.glob("*.toml")] == []


def flower_command_toml(path: Path) -> dict[str, object]:
    import tomllib

    return tomllib.loads(path.read_text())


def test_the_status_of_a_run_is_read(superlink: OneCommandSuperLink, flwr) -> None:
    run = {"run-id": "7", "status": "finished:failed", "status-details": "No heartbeat"}
    flwr(says({"success": True, "runs": [run]}))

    status = run_status(superlink, 7)

    assert status == RunInfo(7, "finished:failed", "No heartbeat")
    assert (status.finished, status.completed) == (True, False)


@pytest.mark.parametrize("reason", ["[code: 16] Run ID not found.", "[code: 18] Run is already finished."])
def test_stopping_a_run_that_is_over_or_lost_is_no_error(superlink: OneCommandSuperLink, flwr, reason: str) -> None:
    arguments = flwr(refuses(reason))

    stop(superlink, 7)

    assert arguments.read_text() == "stop 7 fleet --format json\n"


def test_stopping_a_run_that_flower_refuses_to_stop_is_an_error(superlink: OneCommandSuperLink, flwr) -> None:
    flwr(refuses("[code: 5] Not yours."))

    with pytest.raises(FlowerApiError, match="Not yours"):
        stop(superlink, 7)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("Listing...\n[code: 16] Run ID not found.", RunNotFoundError),
        ("Connection to the SuperLink is unavailable. Please check", SuperLinkUnreachableError),
        ("[code: 23] Public key already in use", FlowerApiError),
    ],
)
def test_refusals_are_told_apart(superlink: OneCommandSuperLink, flwr, reason: str, error: type[Exception]) -> None:
    flwr(refuses(reason))

    with pytest.raises(error, match="flwr ls"):
        run_status(superlink, 7)


def test_a_crash_of_the_command_shows_its_last_words(superlink: OneCommandSuperLink, flwr) -> None:
    flwr("echo 'ImportError: no module' >&2; exit 3")

    with pytest.raises(FlowerCommandError, match=r"code 3 and no JSON answer: ImportError: no module"):
        run_status(superlink, 7)


def test_a_command_that_hangs_is_ended_with_its_children(superlink: OneCommandSuperLink, flwr) -> None:
    # Without the end of the child its open pipe would hold the caller for a minute.
    flwr("sleep 60 & sleep 60")

    with pytest.raises(FlowerCommandError, match="no answer within"):
        superlink.command("ls", timeout_s=0.3)
