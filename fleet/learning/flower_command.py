"""The public `flwr` command, which answers with parsed JSON in bounded time, and the runs that it starts.

One learning job = one Flower run. Each call takes 2 to 4 seconds and 2 CPU seconds: progress comes by LearningService;
ask `run_status` only about a run that has been silent.

After the death of a SuperLink its runs are dead too, although it lists them as running for up to a minute: `stop` the
old run, then `submit` the next attempt. Reports of the old one are fenced by its attempt number.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reram_fleet.processes.flower import process_environment, program

from fleet.learning.errors import FlowerApiError, FlowerCommandError, RunNotFoundError, SuperLinkUnreachableError
from fleet.learning.fab import ATTEMPT, CA_FILE, COORDINATOR, JOB_ID, TOKEN_FILE

#: Importing Flower takes two CPU seconds; the rest is room for a busy two-core machine.
COMMAND_TIMEOUT_S = 60.0

# Flower's numbered API errors (flwr.supercore.error), as its command prints them: "[code: 16] ...".
RUN_ID_NOT_FOUND = 16
RUN_ALREADY_FINISHED = 18
PUBLIC_KEY_ALREADY_IN_USE = 23
_CODE = re.compile(r"\[code: (\d+)\]")


@dataclass(frozen=True)
class RunInfo:
    """One Flower run, as `flwr ls` lists it."""

    run_id: int
    #: pending, starting, running, finished:completed, finished:failed or finished:stopped.
    status: str
    details: str

    @property
    def finished(self) -> bool:
        """The run is over, whatever its outcome."""
        return self.status.startswith("finished")


@dataclass(frozen=True)
class FlowerCommand:
    """Caller of `flwr` with one FLWR_HOME, and with the name of one connection in its `config.toml`."""

    home: Path
    connection: str

    def __call__(
        self, *arguments: str, options: Sequence[str] = (), timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Mapping[str, Any]:
        """Run `flwr ARGUMENTS CONNECTION OPTIONS --format json` and return its answer.

        `FlowerApiError` if the SuperLink refused; `RunNotFoundError` if it does not know the run that the arguments
        name; `SuperLinkUnreachableError` if it does not answer; `FlowerCommandError` if the command took too long or
        its answer is not JSON.
        """
        command = [program("flwr"), *arguments, self.connection, *options, "--format", "json"]
        shown = " ".join(["flwr", *arguments])
        code, output, errors = _run(command, {**os.environ, **process_environment(self.home)}, timeout_s, shown)
        answer = last_json_object(output)
        if answer is None:
            tail = (errors or output).strip()[-400:]
            raise FlowerCommandError(f"`{shown}` ended with code {code} and no JSON answer: {tail or '(silent)'}")
        if answer.get("success") is True:
            return answer
        raise _refusal(shown, str(answer.get("error-message", "no reason given")).strip())

    def submit(
        self, app: Path, job_id: str, attempt: int, coordinator_address: str, ca_file: Path | None, token_file: Path
    ) -> int:
        """Start a run for one attempt of a job; returns its run id.

        `FlowerCommandError` if the SuperLink refuses or does not answer in time. A run may exist nevertheless: submit
        the next attempt, which fences this one.

        Parameters
        ----------
        app
            Folder of the stub app (`fleet.learning.fab`).
        coordinator_address
            host:port of LearningService, or `unix:PATH`.
        ca_file
            File of the CA certificate that vouches for it; a Unix socket needs none.
        token_file
            File (mode 0600) with the bearer token of LearningService. Its path travels, never the token: Flower stores
            and shows run configurations.
        """
        configuration = {
            JOB_ID: job_id,
            ATTEMPT: attempt,
            COORDINATOR: coordinator_address,
            CA_FILE: "" if ca_file is None else str(ca_file.resolve()),
            TOKEN_FILE: str(token_file.resolve()),
        }
        # A file, not `key=value`: Flower's parser of those trips over quotes and blanks in paths.
        with tempfile.NamedTemporaryFile("w", suffix=".toml", dir=app.parent) as overrides:
            overrides.write("".join(f"{key} = {json.dumps(value)}\n" for key, value in configuration.items()))
            overrides.flush()
            answer = self("run", str(app), options=("--run-config", overrides.name))
        return int(answer["run-id"])

    def stop(self, run_id: int) -> None:
        """Stop a run; one that is already over, or that the SuperLink has lost, counts as stopped."""
        try:
            self("stop", str(run_id))
        except RunNotFoundError:
            return
        except FlowerApiError as error:
            if error.code != RUN_ALREADY_FINISHED:
                raise

    def run_status(self, run_id: int) -> RunInfo:
        """Return what Flower says about a run; `RunNotFoundError` if it lost its database."""
        return self.runs("--run-id", str(run_id))[0]

    def runs(self, *options: str) -> list[RunInfo]:
        """Return the runs that `flwr ls` lists, the newest first."""
        return [
            RunInfo(int(run["run-id"]), str(run["status"]), str(run.get("status-details") or ""))
            for run in self("ls", options=options)["runs"]
        ]


def _run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float, shown: str) -> tuple[int, str, str]:
    # A session of its own: on a timeout the whole group goes, not only the interpreter in front.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise FlowerCommandError(
            f"`{shown}` gave no answer within {timeout_s:.0f} s and was ended; is the SuperLink up?"
        ) from None
    return process.returncode, output, errors


def last_json_object(text: str) -> Mapping[str, Any] | None:
    """Return the last top-level JSON object in a text that may hold other lines, None if there is none."""
    decoder = json.JSONDecoder()
    found: Mapping[str, Any] | None = None
    position = text.find("{")
    while position != -1:
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            end = position + 1
        else:
            found = value
        position = text.find("{", end)
    return found


def _refusal(shown: str, reason: str) -> FlowerCommandError:
    match = _CODE.search(reason)
    code = int(match[1]) if match else 0
    # Flower prints what the command said before it failed; the reason is the last line.
    message = f"`{shown}` was refused: {reason.splitlines()[-1] if reason else 'no reason given'}"
    if code == RUN_ID_NOT_FOUND:
        return RunNotFoundError(message)
    if "SuperLink is unavailable" in reason:
        return SuperLinkUnreachableError(message)
    return FlowerApiError(message, code)
