"""One learning job = one Flower run: start it, ask for it, stop it.

Each call runs the public `flwr` command: 2 to 4 seconds and 2 CPU seconds. Progress comes by LearningService; ask
`run_status` only about a run that has been silent.

After the death of a SuperLink its runs are dead too, although it lists them as running for up to a minute: `stop` the
old run, then `submit` the next attempt. Reports of the old one are fenced by its attempt number.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from fleet.learning.errors import FlowerApiError, RunNotFoundError
from fleet.learning.fab import ATTEMPT, COORDINATOR, JOB_ID, TOKEN_FILE
from fleet.learning.flower_command import RUN_ALREADY_FINISHED
from fleet.learning.superlink import RunInfo, SuperLinkConnection, run_info


def submit(
    superlink: SuperLinkConnection, job_id: str, attempt: int, coordinator_address: str, token_file: Path
) -> int:
    """Start a run for one attempt of a job and return its run id.

    Parameters
    ----------
    superlink
        Where to run it.
    job_id, attempt
        What the ServerApp asks LearningService for.
    coordinator_address
        host:port of LearningService, plaintext on the loopback interface.
    token_file
        File (mode 0600) with the bearer token of LearningService. Its path travels, never the token: Flower stores and
        shows run configurations.

    Raises
    ------
    FlowerCommandError
        If the SuperLink refuses or does not answer in time. A run may exist nevertheless: submit the next attempt,
        which fences this one.
    """
    configuration = {
        JOB_ID: job_id,
        ATTEMPT: attempt,
        COORDINATOR: coordinator_address,
        TOKEN_FILE: str(token_file.resolve()),
    }
    # A file, not `key=value`: Flower's parser of those trips over quotes and blanks in paths.
    with tempfile.NamedTemporaryFile("w", suffix=".toml", dir=superlink.app_folder.parent) as overrides:
        overrides.write("".join(f"{key} = {json.dumps(value)}\n" for key, value in configuration.items()))
        overrides.flush()
        answer = superlink.command("run", str(superlink.app_folder), options=("--run-config", overrides.name))
    return int(answer["run-id"])


def stop(superlink: SuperLinkConnection, run_id: int) -> None:
    """Stop a run; a run that is already over, or that the SuperLink has lost, counts as stopped.

    `FlowerCommandError` if the SuperLink does not answer.
    """
    try:
        superlink.command("stop", str(run_id))
    except RunNotFoundError:
        return
    except FlowerApiError as error:
        if error.code != RUN_ALREADY_FINISHED:
            raise


def run_status(superlink: SuperLinkConnection, run_id: int) -> RunInfo:
    """Return what Flower says about a run.

    `RunNotFoundError` if the SuperLink does not know it (it lost its database).
    """
    answer = superlink.command("ls", options=("--run-id", str(run_id)))
    return run_info(answer["runs"][0])
