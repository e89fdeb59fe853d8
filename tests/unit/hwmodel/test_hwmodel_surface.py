"""The public surface of hwmodel: everything exported, one error tree, a README that runs."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
import torch

import hwmodel
from hwmodel import errors

PACKAGE = Path(hwmodel.__file__).parent

#: Public in their module, not part of the package's surface.
INTERNAL = {
    "weight_levels",  # how mappings scale
    *("Section", "Tile", "Cell", "WriteVerify", "Read", "Converter", "Digital", "Radio"),  # parts of a Preset
}

#: Exported as a module: its functions read as hwmodel.cost.radio(...).
AS_MODULE = "cost"


def modules():
    names = [m.name for m in pkgutil.iter_modules([str(PACKAGE)]) if m.name != AS_MODULE]
    return [importlib.import_module(f"hwmodel.{name}") for name in names]


def is_thing(member):
    return inspect.isclass(member) or inspect.isfunction(member)


def test_top_level_holds_the_packages_of_the_design_and_at_most_five_modules():
    members = {member.name: member.ispkg for member in pkgutil.iter_modules([str(PACKAGE)])}

    packages = {name for name, is_package in members.items() if is_package}
    assert packages == {"device", "crossbar", "nn", "cost", "networks", "presets"}
    assert len(members) - len(packages) <= 5


def test_every_public_class_and_function_of_a_module_is_exported():
    defined = {
        name
        for module in modules()
        for name, member in vars(module).items()
        if not name.startswith("_") and is_thing(member) and member.__module__ == module.__name__
    }

    assert defined - INTERNAL <= set(hwmodel.__all__)


def test_every_public_class_and_function_of_a_package_is_exported():
    packages = [module for module in modules() if hasattr(module, "__path__") and hasattr(module, "__all__")]
    public = {name for package in packages for name in package.__all__ if is_thing(getattr(package, name))}

    assert len(packages) >= 3
    assert public <= set(hwmodel.__all__)


def test_all_names_what_exists_once_and_in_order():
    assert len(set(hwmodel.__all__)) == len(hwmodel.__all__)
    assert all(hasattr(hwmodel, name) for name in hwmodel.__all__)


def test_errors_form_one_tree():
    members = [m for _, m in inspect.getmembers(errors, inspect.isclass) if m is not hwmodel.HwModelError]

    assert members
    assert all(issubclass(member, hwmodel.HwModelError) for member in members)
    assert all(member.__name__ in (errors.__doc__ or "") for member in members)


@pytest.mark.parametrize("used_up", [0, 15])
def test_readme_runs_whatever_numbers_were_drawn_before(used_up):
    """It seeds torch itself: of the weights of other seeds, some have their errors the other way round."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(used_up)
        result = doctest.testfile(str(PACKAGE / "README.md"), module_relative=False)

    assert result.attempted > 8
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in hwmodel.__all__ if not name.isupper()])
def test_everything_exported_is_documented(name):
    assert inspect.getdoc(getattr(hwmodel, name))
