"""`edge-node`: make a node, let it join, run it, and talk to its engine."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from reram_fleet.crypto.tickets import TicketError, read_ticket
from reram_fleet.errors import FleetError
from reram_fleet.processes.command_line import (
    FiniteRange,
    folder,
    install_hint,
    missing_package,
    printable,
    version_option,
)
from reram_fleet.processes.hardening import keep_memory_private
from reram_fleet.processes.loading import loading_for_good
from reram_fleet.processes.token_client import TokenClient
from reram_fleet.v1 import engine_pb2 as wire
from reram_fleet.v1.engine_pb2_grpc import EngineServiceStub
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.config import StateFolder
from edge_node.errors import RefusedError, SampleError, StateFolderError
from edge_node.storage.journal_schema import ProgrammedChip
from edge_node.storage.keys import NodeKeys

#: A node that generates learns a class while it is enrolled, on a core that others may share.
CALL_LIMIT_S = 600.0
#: The coordinator takes a node for gone that it has not heard of for 15 s, before it knows its pace.
LONGEST_HEARTBEAT_S = 10.0
#: Of the first node of a machine.
METRICS_PORT = 9811

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # click suggests by itself.
    suggest_commands=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One device of a reram-fleet.",
)

State = Annotated[Path, typer.Option(help="The node's own folder.", parser=folder, metavar="DIR")]
Port = typer.Option(min=0, max=65535, help="0 takes a free port; see run.json.")
PersonName = Annotated[str | None, typer.Option(help="A person of the node's task, e.g. s04.")]
SampleFile = Annotated[
    Path | None, typer.Option(help="An .npz file with one float array [frames, channels] per sample.")
]


def main() -> None:
    """Run the command line; expected errors are one line on standard error and exit code 1."""
    keep_memory_private()
    try:
        app(prog_name="edge-node")
    except FleetError as error:
        _fail(f"{error}; {error.hint}" if error.hint else str(error), 1)
    except grpc.RpcError as error:
        code = 6 if error.code() is grpc.StatusCode.UNAVAILABLE else 1
        _fail(f"the engine answers {error.code().name}: {error.details()}", code)
    except ModuleNotFoundError as error:
        if (package := missing_package(error)) is None:
            raise
        _fail(f"this needs {package}, which is not installed: {install_hint('node')}", 2)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {printable(message)}", err=True)
    sys.exit(code)


@app.callback()
def edge_node(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=version_option("edge-node"), help="Show the version and end."
        ),
    ] = False,
) -> None:
    """Take the options before the verb."""


def _show(message: Message) -> None:
    typer.echo(json_format.MessageToJson(message, always_print_fields_with_no_presence=True))


@app.command()
def init(state: State, node_id: Annotated[str, typer.Option(help="Name of the node, a DNS label.")]) -> None:
    """Make a node's keys; prints its public identity, for `fleet node enroll`.

    Where the node is there already, its identity is printed and nothing is made. A folder that has lost its keys, or
    part of them, is refused.
    """
    _show(NodeKeys.create(StateFolder(state), node_id).identity)


@app.command()
def join(state: State, enrollment: Annotated[Path, typer.Argument(help="What `fleet node enroll` printed.")]) -> None:
    """Store what the coordinator answered to the node's registration."""
    node_folder = StateFolder(state)
    keys = NodeKeys.load(node_folder)
    try:
        answer = json_format.Parse(enrollment.read_text(), EnrollNodeResponse())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise StateFolderError(f"{enrollment} is no enrollment: {error}") from error
    node_folder.save_enrollment(answer)
    typer.echo(f"{keys.node_id} belongs to fleet {answer.fleet_id}", err=True)


@app.command()
def prepare(task: Annotated[str, typer.Option(help="A task that is installed.")]) -> None:
    """Make what all nodes of a task share on this machine, once; most tasks have nothing of the kind."""
    from edge_node.tasks import SharedPreparation, load_task

    found = load_task(task)
    if not isinstance(found, SharedPreparation):
        return
    typer.echo(f"Preparing task {task}: what is not there yet takes minutes, once", err=True)
    found.prepare(_tenths_shown)


def _tenths_shown(done: int, steps: int) -> None:
    if done * 10 // steps != (done - 1) * 10 // steps:
        typer.echo(f"  {done} of {steps} steps", err=True)


@app.command()
def run(
    state: State,
    task: Annotated[str, typer.Option(help="What the engine recognises or generates.")] = "speakers",
    preset: Annotated[str, typer.Option(help="Chip technology.")] = "180nm-1t1r",
    fleet_seed: Annotated[int, typer.Option(help="Seed that the chip's devices are drawn from.")] = 0,
    metrics_port: Annotated[int, Port] = METRICS_PORT,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Without a SuperNode.")] = False,
    connect_delay: Annotated[
        float,
        typer.Option(
            click_type=FiniteRange(min=0, max=1e7), help="Longest random wait before the first connection, in seconds."
        ),
    ] = 0.0,
    heartbeat: Annotated[
        float,
        typer.Option(click_type=FiniteRange(min=0.05, max=LONGEST_HEARTBEAT_S), help="Seconds between heartbeats."),
    ] = 1.0,
    calibrate_every: Annotated[
        float | None,
        typer.Option(
            click_type=FiniteRange(min=1),
            help="Seconds between two calibrations of the chip, whose cells age; only when it starts, if left out.",
        ),
    ] = None,
) -> None:
    """Run the node until SIGTERM or SIGINT."""
    with loading_for_good():
        from edge_node.agent import daemon

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    daemon.run(
        StateFolder(state),
        ProgrammedChip(task, preset, fleet_seed),
        metrics_port=metrics_port,
        learning=not no_flower,
        connect_delay_s=connect_delay,
        heartbeat_s=heartbeat,
        calibrate_every_s=calibrate_every,
    )


@app.command()
def status(state: State) -> None:
    """Print the running node's state as JSON."""
    _show(_call(state, "GetStatus", wire.GetStatusRequest()))


@app.command()
def enroll(
    state: State,
    ticket: Annotated[str, typer.Option(help="What `fleet registry enroll` printed for this node.")],
    person: PersonName = None,
    samples: SampleFile = None,
) -> None:
    """Enrol a person on this node, by their training samples or by a file."""
    try:
        allowed = read_ticket(ticket)
    except TicketError as error:
        raise typer.BadParameter(str(error)) from error
    request = wire.EnrollRequest(ticket=allowed, samples=_samples(state, person, samples, "train"))
    _show(_call(state, "Enroll", request))


@app.command()
def identify(state: State, person: PersonName = None, samples: SampleFile = None) -> None:
    """Ask this node whose samples these are: a person's test samples, or a file."""
    _show(_call(state, "Identify", wire.IdentifyRequest(samples=_samples(state, person, samples, "test"))))


@app.command()
def authenticate(
    state: State,
    tag: Annotated[str, typer.Option(help="Subject tag of the claimed identity.")],
    person: PersonName = None,
    samples: SampleFile = None,
) -> None:
    """Ask this node whether samples, all of one person, are of who they claim to be.

    Exit code 5 if the claim is rejected, 1 with the reason if the node does not say.
    """
    request = wire.AuthenticateRequest(subject_tag=tag, samples=_samples(state, person, samples, "test"))
    answer = _call(state, "Authenticate", request)
    if answer.refusal:
        raise RefusedError(f"the node does not compare with it: {wire.TagRefusal.Name(answer.refusal)}")
    _show(answer)
    if not answer.accepted:
        raise typer.Exit(5)


@app.command()
def generate(
    state: State,
    output: Annotated[
        Path, typer.Option(help="Where to write the images: a .png contact sheet, or else an .npz file.")
    ],
    tag: Annotated[str | None, typer.Option(help="Subject tag of a private class.")] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="A class by its name, e.g. tree: by the backbone alone.")
    ] = None,
    style: Annotated[str, typer.Option(help="A style of the task, e.g. night; any if not given.")] = "",
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that generation starts from.")] = 0,
) -> None:
    """Have this node generate images of a class; exit code 1 with the reason if it refuses."""
    if (tag is None) == (class_name is None):
        raise typer.BadParameter("give either --tag or --class")
    request = wire.GenerateRequest(subject_tag=tag, class_name=class_name, style=style, count=count, seed=seed)
    answer = _call(state, "Generate", request)
    if answer.refusal:
        raise RefusedError(f"the node does not generate it: {wire.TagRefusal.Name(answer.refusal)}")
    import numpy as np

    levels = np.frombuffer(answer.levels, np.uint8).reshape(-1, answer.rows, answer.columns, answer.channels)
    if output.suffix == ".png":
        from edge_node.generation.contact_sheet import contact_sheet

        output.write_bytes(contact_sheet(levels))
    else:
        np.savez(output, levels=levels)
    typer.echo(f"{len(levels)} images of colour levels 0 to 255 are in {output}", err=True)


def _call(state: Path, method: str, request: Message) -> Any:
    files = StateFolder(state)
    try:
        address = json.loads(files.run.read_text())["engine_address"]
        token = files.engine_token.read_text()
    except FileNotFoundError:
        raise StateFolderError(f"no node runs on {state}; run: edge-node run --state {state}") from None
    with TokenClient(address, token, EngineServiceStub) as engine:
        return engine.call(getattr(engine.stub, method), Message, request, CALL_LIMIT_S)


def _samples(state: Path, person: str | None, file: Path | None, part: str) -> list[wire.Sample]:
    if (person is None) == (file is None):
        raise typer.BadParameter("give either --person or --samples")
    import numpy as np

    from edge_node.tasks.samples import encode_sample

    arrays: Sequence[np.ndarray]
    if file is not None:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = [archive[name] for name in archive.files]
        except (OSError, ValueError) as error:
            raise SampleError(f"{file} cannot be read as .npz: {error}") from error
    else:
        from edge_node.tasks import load_task

        assert person is not None
        task = _call(state, "GetStatus", wire.GetStatusRequest()).task
        people = load_task(task).load_people()
        if person not in people:
            raise SampleError(f"nobody in task {task} is called {person!r}; there are: {', '.join(people)}")
        arrays = getattr(people[person], part)
    if wrong := [sample.shape for sample in arrays if sample.ndim != 2]:
        raise SampleError(f"a sample has shape {wrong[0]}, expected [frames, channels]")
    return [encode_sample(sample) for sample in arrays]
