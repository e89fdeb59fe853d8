"""Tasks as plug-ins: what is found, and what is said of one that cannot be used."""

from __future__ import annotations

import sys

import pytest
from reram_fleet import tasks
from reram_fleet.code_ranges import SPEAKERS, CodeRange
from reram_fleet.tasks import CODE_RANGES, TASKS, TaskPluginError, code_range, load_task, task_names

OURS = (
    *("faces", "faces-64", "faces-yale-b", "fsdd", "fsdd-8", "images", "images-brief"),
    *("speakers", "speakers-16", "speakers-4", "speakers-8"),
)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return what puts a distribution with a module `plugin_NAME` and entry points on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(distribution, code="", **groups):
        (tmp_path / f"plugin_{distribution}.py").write_text(code)
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        sections = {"tasks": TASKS, "ranges": CODE_RANGES}
        lines = [f"[{sections[group]}]\n{points}\n" for group, points in groups.items()]
        (folder / "entry_points.txt").write_text("\n".join(lines))
        tasks._found.cache_clear()

    yield installed
    tasks._found.cache_clear()
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def test_our_own_tasks_are_found_with_their_ranges():
    assert task_names() == OURS
    assert code_range("speakers") == SPEAKERS
    assert all(code_range(name).features > 0 for name in OURS)


def test_a_task_of_another_distribution_is_one_like_ours(install):
    code = "from reram_fleet.code_ranges import CodeRange\nTASK, CODES = object(), CodeRange(3, 5)\n"
    install("gaits", code, tasks="gaits = plugin_gaits:TASK", ranges="gaits = plugin_gaits:CODES")

    assert task_names() == (*OURS[:5], "gaits", *OURS[5:])
    assert code_range("gaits") == CodeRange(3, 5)
    assert type(load_task("gaits")) is object


def test_an_unknown_task_is_told_what_is_known():
    for asked in (load_task, code_range):
        with pytest.raises(
            TaskPluginError,
            match=f"no task 'gaits'; known: {', '.join(OURS)}",
        ):
            asked("gaits")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", r"distribution gaits cannot be loaded \(ZeroDivisionError: division by zero\)"),
        ("import gait_library", r"distribution gaits cannot be loaded \(ModuleNotFoundError: .*gait_library"),
        ("", r"distribution gaits cannot be loaded \(AttributeError"),
        ("CODES = 7", "distribution gaits is of type int, expected CodeRange"),
    ],
)
def test_a_broken_task_says_whose_it_is_and_others_go_on(install, code, says):
    install("gaits", code, ranges="gaits = plugin_gaits:CODES")

    with pytest.raises(TaskPluginError, match=says):
        code_range("gaits")
    assert code_range("speakers") == SPEAKERS


def test_a_task_without_a_range_is_told_what_it_lacks(install):
    install("gaits", "TASK = object()", tasks="gaits = plugin_gaits:TASK")

    with pytest.raises(TaskPluginError, match=r"'gaits' has no entry point in the group reram_fleet.code_ranges"):
        code_range("gaits")


def test_a_name_that_two_give_is_nobodys(install):
    install("voices", "CODES = None", ranges="speakers = plugin_voices:CODES")

    with pytest.raises(TaskPluginError, match="'speakers' is given by reram-fleet and voices: uninstall all but one"):
        code_range("speakers")


def test_a_task_of_another_kind_than_asked_for_is_refused(install):
    install("gaits", "TASK = object()", tasks="gaits = plugin_gaits:TASK")

    with pytest.raises(TaskPluginError, match="distribution gaits is of type object, expected int or str"):
        load_task("gaits", int, str)


def test_a_package_of_our_extras_that_is_missing_is_told_as_that(install, monkeypatch):
    monkeypatch.setitem(sys.modules, "sktime", None)
    install("gaits", "import sktime", tasks="gaits = plugin_gaits:TASK")

    with pytest.raises(ModuleNotFoundError, match="sktime"):
        load_task("gaits")


def test_metadata_older_than_the_code_say_how_to_renew_them(monkeypatch):
    monkeypatch.setattr(tasks, "_found", lambda group: {})

    with pytest.raises(TaskPluginError, match="no task is installed: the metadata of reram-fleet are older"):
        code_range("speakers")
