"""Package of a task: the files that `fleet task new` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import packages_distributions

import tomli_w
from reram_fleet.processes.command_line import DISTRIBUTION
from reram_fleet.tasks import CODE_RANGES, TASKS

from edge_node.tasks.model_task import ModelTask
from fleet.lab.tasks.draft import PUBLIC_CODE
from fleet.lab.tasks.examination import Examination

#: Below the accuracy that was measured, a written test fails by this much.
_SLACK = 0.05


def module_name(task: str) -> str:
    """Return the name of a task's module."""
    return f"{task.replace('-', '_')}_task"


def data_variable(task: str) -> str:
    """Return the environment variable that names the folder of a task's samples."""
    return f"{task.replace('-', '_').upper()}_DATA"


def package_files(task: ModelTask, found: Examination) -> Mapping[str, str]:
    """Return the files of a task's package by name."""
    module = module_name(task.name)
    return {
        "pyproject.toml": _project(task, module),
        f"{module}.py": _module(task),
        f"test_{module}.py": _test(module, found),
        "README.md": _readme(task, module, found),
    }


def _project(task: ModelTask, module: str) -> str:
    top = task.model.partition(":")[0].partition(".")[0]
    givers = packages_distributions().get(top, ())
    return tomli_w.dumps(
        {
            "build-system": {"requires": ["setuptools>=68"], "build-backend": "setuptools.build_meta"},
            "project": {
                "name": f"{task.name}-task",
                "version": "1.0",
                "description": f"Task {task.name} of reram-fleet",
                "requires-python": ">=3.11",
                "dependencies": [DISTRIBUTION, *sorted(set(givers) - {DISTRIBUTION})],
                "entry-points": {TASKS: {task.name: f"{module}:TASK"}, CODE_RANGES: {task.name: f"{module}:CODES"}},
            },
            "tool": {"setuptools": {"py-modules": [module]}},
        }
    )


def _module(task: ModelTask) -> str:
    samples = task.samples
    public = "".join(f"            {_literal(name)},\n" for name in samples.public)
    return f'''"""Task `{task.name}`: people told by what the model `{task.model}` makes of their samples.

A coordinator imports this module too, for `CODES`, and has no torch: import that in functions only.
"""

from reram_fleet.code_ranges import CodeRange

from edge_node.tasks.model_task import ModelTask
from edge_node.tasks.sample_folder import SampleFolder

#: Features that the model makes of a sample, and the largest code of one.
CODES = CodeRange(features={task.codes.features}, code_max={task.codes.code_max})

TASK = ModelTask(
    name={_literal(task.name)},
    model={_literal(task.model)},
    samples=SampleFolder(
        # A folder for each person. The variable names it where it lies elsewhere.
        folder={_literal(samples.folder)},
        variable={_literal(samples.variable)},
        shape={samples.shape!r},
        # They calibrate every chip: a node needs their folders, and nobody else's.
        public=(
{public}        ),
        # So many are never enrolled; the seed draws who, and which samples test.
        strangers={samples.strangers},
        seed={samples.seed},
    ),
    codes=CODES,
    # Codes per unit of a feature: a power of two that scales the public people's largest to {PUBLIC_CODE} at most.
    gain={task.gain!r},
)
'''


def _literal(text: str) -> str:
    """Return a text as Python source, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _test(module: str, found: Examination) -> str:
    return f'''"""The task on three simulated chips: what a fleet relies on, and that people are told apart."""

from {module} import CODES, TASK

from fleet.lab.tasks.draft import PUBLIC_CODE
from fleet.lab.tasks.examination import examine


def test_people_are_told_apart_as_well_as_when_the_task_was_written():
    found = examine(TASK, CODES)

    # It was {found.accuracy:.3f}.
    assert found.accuracy >= {max(0.0, found.accuracy - _SLACK):.3f}
'''


def _readme(task: ModelTask, module: str, found: Examination) -> str:
    name = task.name
    return f"""# Task `{name}`

Recognises people by what the model `{task.model}` makes of their samples, with its matrices on crossbars. Install it
beside reram-fleet on every machine of the fleet, the coordinator's too:

```console
$ pip install .
$ fleet task check {name}
$ fleet demo --task {name}
$ fleet verify --task {name}
$ pytest                        # here
```

Samples are in `{task.samples.folder}`, or
where the environment variable `{task.samples.variable}` says. Nodes read those of the public people only: everybody
else comes in through `edge-node enroll`.

`{module}.py` is yours to edit: who is public, where samples are, how a file is read (`read=` of `SampleFolder`).
Another model, or other features of it, makes other codes of the same person: write another task for it.

When it was written, on three simulated chips:

- of the test samples of {found.enrolled} people {found.accuracy:.1%} were named right, {found.accepted:.1%} accepted
- of the samples of {found.strangers} strangers {found.strangers_accepted:.1%} were accepted
"""
