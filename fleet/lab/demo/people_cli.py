"""`fleet people`: people of a task's data, brought into a fleet on this machine to try things out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from reram_fleet.processes.command_line import EXTRA_MODULES, FiniteRange, folder, require

from fleet.cli.output import Format, OutputFormat, hint, note, records, show
from fleet.config import default_state
from fleet.documents import document
from fleet.errors import InvalidInputError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="People of a task's data, to try a fleet with.")


@app.callback()
def people() -> None:
    """Hold the verbs together: with one of them, typer would leave its name out."""


@app.command("enroll")
def enroll(
    count: Annotated[int, typer.Option(min=1, help="So many who are not enrolled yet.")] = 3,
    state: Annotated[
        Path | None,
        typer.Option("--state", parser=folder, metavar="DIR", help="Folder of the fleet.", show_default="per user"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(click_type=FiniteRange(min=1), help="Seconds until every node knows them.")
    ] = 120.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Enrol people of the data set of a running fleet's task, each on two of its nodes.

    A real caller enrols whoever consents, by `fleet registry enroll` and `edge-node enroll`.
    """
    require(sorted(EXTRA_MODULES - {"matplotlib"}))
    from fleet.lab.demo.enrolment import enrol, wait_active_everywhere
    from fleet.lab.demo.people import load_demo_people
    from fleet.local.deadline import Deadline
    from fleet.local.supervisor import running_fleet

    fleet = running_fleet((state or default_state()).absolute())
    known = {name for name in fleet.registry.people() if fleet.registry.active_tags(name)}
    new = [person for person in load_demo_people(fleet.settings.task).enrolled if person.name not in known]
    if len(new) < count:
        raise InvalidInputError(f"the data of task {fleet.settings.task} have {len(new)} people more, not {count}")
    note(f"Enrolling {count} people on {len(fleet.nodes)} nodes ...")
    tags, where = enrol(fleet, new[:count])
    wait_active_everywhere(fleet, frozenset(tags.values()), Deadline.of(timeout))
    rows = [{"person": name, "tag": tag, "nodes": list(where[name])} for name, tag in tags.items()]
    show(
        form,
        document("EnrolledPeople", people=rows),
        lambda: [
            records("People", {"person": "person", "tag": "tag", "nodes": lambda row: ", ".join(row["nodes"])}, rows)
        ],
    )
    hint(f"fleet forget create --subject {new[0].name} --wait")
