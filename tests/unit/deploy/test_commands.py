"""Commands that deploy/ starts: each word of them is one that its program takes."""

from __future__ import annotations

import re
import subprocess

import click
import pytest
import typer

import edge_node.cli
import fleet.cli
from tests.deployment import checker, commands

OURS = {"fleet": fleet.cli.app, "edge-node": edge_node.cli.app}
COMMANDS = list(commands())


def parse(program, arguments):
    command, context = typer.main.get_command(OURS[program]), None
    while True:
        context = command.make_context(program, arguments, parent=context)
        if not isinstance(command, click.Group):
            return context
        _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


def ours():
    return [(where, words) for where, words in COMMANDS if words[0] in OURS]


@pytest.mark.parametrize(("where", "words"), ours(), ids=lambda value: value if isinstance(value, str) else "")
def test_our_programs_take_their_options(where, words):
    program, *arguments = words

    assert parse(program, arguments).params["state"].is_absolute()


@pytest.mark.parametrize("program", ["flower-superlink", "prometheus", "prometheus-alertmanager"])
def test_other_programs_know_their_options(program):
    used = {
        word.partition("=")[0]
        for _, (name, *words) in COMMANDS
        for word in words
        if program in (name, f"prometheus-{name}") and word.startswith("--")
    }
    # Those of Go print it to standard error.
    said = subprocess.run([checker(program), "--help"], capture_output=True, text=True, timeout=60)
    known = set(re.findall(r"--[\w.-]+", said.stdout + said.stderr))

    assert len(used) >= 3
    assert used <= known


def test_every_way_of_installing_serves_alike():
    def options(words):
        return {word.partition("=")[0] for word in words if word.startswith("--")}

    serving = {where: options(words) for where, words in COMMANDS if words[:2] == ["fleet", "serve"]}
    running = {where: options(words) for where, words in COMMANDS if words[:2] == ["edge-node", "run"]}

    assert len(serving) == 4
    assert len({frozenset(each) for each in serving.values()}) == 1
    # A device waits at random before it connects; a pod's node is started by a cluster that does so.
    assert len({frozenset(each - {"--connect-delay"}) for each in running.values()}) == 1
