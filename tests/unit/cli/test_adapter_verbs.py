"""`fleet adapter`: sealed files, PEFT folders, and what hostile ones are refused for."""

from __future__ import annotations

import json
import shutil

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from fleet.cli import app
from fleet.lab.exchange.adapter_files import AdapterStore, Network
from fleet.lab.exchange.file_format import encode_adapter
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec

NETWORK = ("--task", "speakers", "--seed", "1", "--hidden", "16")


def adapter(*arguments):
    return CliRunner().invoke(app, ["adapter", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with the cohorts of a simulated fleet."""
    store = tmp_path_factory.mktemp("adapters") / "store"
    result = adapter("train", "--store", store, *NETWORK, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return store, json.loads(result.stdout)["items"]


@pytest.fixture
def store(trained, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(trained[0], tmp_path / "store")


@pytest.fixture
def peft(trained, tmp_path):
    """A cohort as a PEFT folder."""
    folder = tmp_path / "peft"
    result = adapter(
        "export", "cohort-0000", "--store", trained[0], *NETWORK, "--output", folder, "--personal-in-the-clear"
    )
    assert result.exit_code == 0, result.stderr
    return folder


def test_trained_cohorts_lie_sealed_in_the_store_and_open_as_they_were(trained):
    store, items = trained

    assert [item["adapter_kind"] for item in items] == ["cohort", "cohort"]
    listed = adapter("list", "--store", store, "-o", "json")
    assert json.loads(listed.stdout)["items"] == [item["name"] for item in items]
    for item in items:
        shown = adapter("show", item["name"], "--store", store, *NETWORK, "-o", "json")
        assert json.loads(shown.stdout) == item
        sealed = (store / "adapters" / f"{item['name']}.adapter").read_bytes()
        assert b"hidden.lora_B" not in sealed


def test_personal_adapter_leaves_the_store_only_if_that_is_meant(trained, tmp_path):
    result = adapter("export", "cohort-0000", "--store", trained[0], *NETWORK, "--output", tmp_path / "peft")

    assert result.exit_code == 2
    assert "no forget reaches them" in result.stderr
    assert "--personal-in-the-clear" in result.stderr
    assert not (tmp_path / "peft").exists()


def test_adapter_comes_back_from_peft_and_computes_the_same(trained, store, peft):
    result = adapter("import", peft, "--store", store, *NETWORK, "--name", "back", "--kind", "cohort", "-o", "json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["name"] == "back"
    base = Network("speakers", 1, 16).base()
    files = AdapterStore(store, "node-1")
    before, after = (files.load(name, base) for name in ("cohort-0000", "back"))
    inputs = base.layer("hidden").inputs
    for one, other in zip(before.factors("hidden", inputs), after.factors("hidden", inputs), strict=True):
        torch.testing.assert_close(one, other)
    assert before.spec.scaling == after.spec.scaling


def rewritten(folder, change):
    """Change the tensors of a PEFT folder."""
    file = folder / TENSORS_FILE
    tensors = safetensors.torch.load(file.read_bytes())
    file.write_bytes(safetensors.torch.save({name: change(value) for name, value in tensors.items()}))


def not_finite(folder):
    rewritten(folder, lambda value: torch.full_like(value, torch.nan))


def huge(folder):
    rewritten(folder, lambda value: value + 1e9)


def other_shape(folder):
    rewritten(folder, lambda value: torch.cat([value, value]))


def rank_bomb(folder):
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"r": 10**9}))


def header_bomb(folder):
    (folder / TENSORS_FILE).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def cut(folder):
    file = folder / TENSORS_FILE
    file.write_bytes(file.read_bytes()[:-5])


def pickled(folder):
    (folder / TENSORS_FILE).rename((folder / TENSORS_FILE).with_suffix(".bin"))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (not_finite, "finite"),
        (huge, "norm"),
        (other_shape, "expected"),
        (rank_bomb, "expected r from 1 to 256"),
        (header_bomb, "header"),
        (cut, "bytes"),
        (pickled, "pickle"),
    ],
)
def test_hostile_folder_is_refused_with_the_reason_and_nothing_is_kept(store, peft, harm, says):
    assert adapter("check", peft, *NETWORK).exit_code == 0
    harm(peft)

    checked = adapter("check", peft, *NETWORK, "-o", "json")
    assert checked.exit_code == 1
    body = json.loads(checked.stdout)
    assert (body["accepted"], body["adapter"]) == (False, None)
    assert says in body["refusal"]
    imported = adapter("import", peft, "--store", store, *NETWORK, "--name", "bad")
    assert imported.exit_code == 2
    assert "refused" in imported.stderr
    assert "Traceback" not in imported.stderr
    assert AdapterStore(store, "node-1").names() == ("cohort-0000", "cohort-0001")


def test_adapter_of_another_network_is_refused(peft, trained):
    other = ("--task", "speakers", "--seed", "4", "--hidden", "16")

    checked = adapter("check", peft, *other, "-o", "json")
    opened = adapter("show", "cohort-0000", "--store", trained[0], *other)

    assert "another frozen backbone" in json.loads(checked.stdout)["refusal"]
    assert (checked.exit_code, opened.exit_code) == (1, 2)


def test_adapter_from_before_a_forget_is_refused(trained, tmp_path):
    base = Network("speakers", 1, 16).base()
    spec = LoraSpec(
        name="old",
        kind=LoraKind.SHARED,
        task=base.task,
        base_digest=base.digest,
        layers=("hidden",),
        rank=2,
        alpha=2.0,
        a_seed=1,
        built_at_generation=4,
    )
    file = tmp_path / "old.safetensors"
    file.write_bytes(encode_adapter(LoraAdapter.build(spec, base, b={"hidden": torch.ones(16, 2)})))

    assert adapter("check", file, *NETWORK, "--generation", 4).exit_code == 0
    late = adapter("check", file, *NETWORK, "--generation", 5, "-o", "json")
    assert late.exit_code == 1
    assert "built at generation 4" in json.loads(late.stdout)["refusal"]


def test_another_nodes_file_does_not_open(trained):
    result = adapter("show", "cohort-0000", "--store", trained[0], *NETWORK, "--node", "other")

    assert result.exit_code == 2
    assert "does not open" in result.stderr


def test_destroyed_adapter_is_gone_with_its_key(store):
    keys = {path.name for path in (store / "adapter-keys").iterdir()}

    assert adapter("destroy", "cohort-0000", "--store", store).exit_code == 2
    assert adapter("destroy", "cohort-0000", "--store", store, "--yes").exit_code == 0

    assert AdapterStore(store, "node-1").names() == ("cohort-0001",)
    assert len(keys - {path.name for path in (store / "adapter-keys").iterdir()}) == 1
    assert adapter("destroy", "cohort-0000", "--store", store, "--yes").exit_code == 3
    assert adapter("show", "cohort-0000", "--store", store, *NETWORK).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["check", "nowhere", *NETWORK], 3, "there is no nowhere"),
        (["check", ".", "--task", "gaits"], 2, "Known: faces, speakers, images"),
        (["check", ".", "--task", "speakers", "--hidden", "0"], 2, "at least one unit"),
        (["train", "--store", "x", "--task", "images"], 2, "With cohorts: faces, speakers"),
    ],
)
def test_what_cannot_be_done_says_what_can(tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)

    result = adapter(*arguments)

    assert says in result.stderr
    assert result.exit_code == code


def test_the_base_of_faces_is_that_of_their_second_layer():
    from edge_node.backbones.filters import COARSE, FilterBank
    from hwmodel import EnergyLedger, load_preset

    bank = FilterBank.program(load_preset("180nm-1t1r"), 1, ["a"], EnergyLedger(1), layout=COARSE)

    assert Network("faces", 3, 16).base().layer("hidden").inputs == bank.features
