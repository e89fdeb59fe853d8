"""One story that several tests look at: a fleet learns, loses its SuperLink meanwhile, and forgets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.sealing import open_symmetric, state_purpose
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.operator_pb2 import Forget, LearningJob

from fleet.domain.learning import JobState
from fleet.lab.demo.observation import flower_runs
from fleet.local.fleet import LocalSettings
from fleet.local.layout import Layout
from tests.faults.rig import Rig, eventually, paused, processes_of, running_rig

ROUNDS = 2
LEARNING_LIMIT_S = 150.0


@dataclass(frozen=True)
class Story:
    """What happened, in this order.

    Attributes
    ----------
    forgotten, kept
        Tags of one person each; both were enrolled on both nodes and learned.
    revision_before
        Desired revision when the learning job was started.
    checkpoint
        The LoRA's state after the first round, which Flower carried to the nodes.
    trained
        The learning job at its end. Its SuperLink was killed after the first round.
    superlink_family
        Command lines of the SuperLink that was killed, and of all that ran below its reaper then.
    outlived
        Those of them that had not ended some seconds later.
    runs_after_training
        Status of every Flower run when the job had ended, oldest first.
    backup
        Copy of all files from before the forget, keys included.
    forget
        The campaign at its end.
    now
        Copy of all files from after it.
    """

    rig: Rig
    forgotten: str
    kept: str
    revision_before: int
    checkpoint: types.LoraState
    trained: LearningJob
    superlink_family: tuple[str, ...]
    outlived: tuple[str, ...]
    runs_after_training: tuple[str, ...]
    backup: Layout
    forget: Forget
    now: Layout


@contextmanager
def run_story(folder: Path) -> Iterator[Story]:
    """Let it happen; the fleet runs until the block ends."""
    settings = LocalSettings(folder / "fleet", nodes=2, learning=True, restart_nodes=False)
    with running_rig(settings) as rig:
        rig.kept = rig.enrol(0, nodes=(0, 1))
        forgotten = rig.enrol(1, nodes=(0, 1))
        revision_before = settled_revision(rig)
        job_id = rig.client.start_learning(new_tag(), types.LEARNING_KIND_TRAIN_LORA, ROUNDS).job.job_id
        eventually(
            "the first round is over", lambda: rig.client.get_learning(job_id).rounds_done >= 1, LEARNING_LIMIT_S
        )
        checkpoint = read_checkpoint(settings.layout, job_id)
        family, outlived = kill_superlink(settings.layout)
        trained = eventually("the job is over", lambda: _finished(rig, job_id), LEARNING_LIMIT_S)
        runs = tuple(run.status for run in flower_runs(rig.fleet))
        rig.wait_active_everywhere(forgotten)
        backup = copy_of(settings.layout, folder / "backup")
        campaign = rig.forget(forgotten)
        forget = rig.wait_converged(campaign.campaign_id, LEARNING_LIMIT_S)
        rig.wait_active_everywhere(rig.kept)
        yield Story(
            rig=rig,
            forgotten=forgotten,
            kept=rig.kept,
            revision_before=revision_before,
            checkpoint=checkpoint,
            trained=trained,
            superlink_family=family,
            outlived=outlived,
            runs_after_training=runs,
            backup=backup,
            forget=forget,
            now=copy_of(settings.layout, folder / "now"),
        )


def settled_revision(rig: Rig) -> int:
    """Return the desired revision once every contribution is in it."""

    def acknowledged() -> bool:
        return all(_open_contributions(node.state / "journal.db") == 0 for node in rig.fleet.nodes)

    eventually("every contribution is acknowledged", acknowledged)
    seen: list[int] = []

    def unchanged() -> int | None:
        # The reconciler acts on each change at once, but solving a head may take it seconds on a busy machine.
        seen.append(rig.client.get_fleet().revision)
        return seen[-1] if seen[-25:] == [seen[-1]] * 25 else None

    return eventually("the revision stays", unchanged)


def _open_contributions(journal: Path) -> int:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM enrolment WHERE acked_sequence < sequence AND refusal = ''"
        ).fetchone()
    return int(count)


def _finished(rig: Rig, job_id: str) -> LearningJob | None:
    job = rig.client.get_learning(job_id)
    return job if job.state in (JobState.SUCCEEDED, JobState.FAILED) else None


def read_checkpoint(layout: Layout, job_id: str) -> types.LoraState:
    """Open the state of a running job as only the coordinator can: it has the job's key."""
    database = layout.coordinator / "fleet.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        (sealed,) = connection.execute("SELECT sealed_state FROM learning_job WHERE job_id = ?", (job_id,)).fetchone()
    key = (layout.coordinator / "secrets" / f"job-{job_id}.key").read_bytes()
    return types.LoraState.FromString(open_symmetric(key, state_purpose(job_id), sealed))


def kill_superlink(layout: Layout) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SIGKILL the SuperLink itself, not the reaper above it.

    Returns the command lines of all that ran below this reaper, and of what of it outlived the kill.
    """
    (superlink,) = [process for process in processes_of(layout.coordinator) if _is_superlink(process)]
    family: dict[psutil.Process, str] = {}
    for process in psutil.Process(superlink.ppid()).children(recursive=True):
        # Flower's SuperExec reaps the ServerApp of a finished run with the next one: a zombie till then.
        with contextlib.suppress(psutil.NoSuchProcess):
            family[process] = " ".join(process.cmdline())
    superlink.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=15)
    return tuple(family.values()), tuple(family[process] for process in alive)


def _is_superlink(process: psutil.Process) -> bool:
    command = process.cmdline()
    return "reram_fleet.processes.reaper" not in command and any(
        Path(word).name == "flower-superlink" for word in command[:2]
    )


def copy_of(layout: Layout, target: Path) -> Layout:
    """Copy every file of a fleet while its processes are held: what a backup or a thief would get."""
    with ExitStack() as held:
        for process in processes_of(layout.root):
            held.enter_context(paused(process.pid))
        os.sync()
        # A socket holds nothing, and cannot be copied.
        shutil.copytree(layout.root, target, ignore=shutil.ignore_patterns("*.sock"))
    return Layout(target)
