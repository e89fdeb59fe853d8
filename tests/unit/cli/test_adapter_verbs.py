"""`fleet adapter`: cohorts out as PEFT folders, and what hostile folders are refused for."""

from __future__ import annotations

import json
import shutil

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from edge_node.recognition.lora.stage import DRIVE_BITS, Stage
from edge_node.tasks import faces, load_task
from fleet.cli import app
from fleet.lab.exchange.adapter import LoraKind
from fleet.lab.exchange.networks import Network
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE, import_peft
from hwmodel import EnergyLedger, Phase, load_preset
from tests.made_up_photos import made_up_photos

NETWORK = ("--task", "faces-64", "--seed", "1")
CLEAR = "--personal-in-the-clear"


def adapter(*arguments):
    return CliRunner().invoke(app, ["adapter", *map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def made_up():
    photos = made_up_photos()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "_photos", lambda folder: photos)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the cohorts of a simulated fleet."""
    folder = tmp_path_factory.mktemp("adapters") / "out"
    result = adapter("train", "--output", folder, *NETWORK, CLEAR, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)["items"]


@pytest.fixture
def peft(trained, tmp_path):
    """A copy of one cohort that a test may change."""
    return shutil.copytree(trained[0] / "cohort-0000", tmp_path / "peft")


def test_trained_cohorts_lie_in_folders_and_compute_what_they_did(trained):
    folder, items = trained
    network = Network("faces-64", 1)
    base = network.base()

    assert [item["adapter_kind"] for item in items] == ["cohort", "cohort"]
    assert sorted(path.name for path in folder.iterdir()) == [item["name"] for item in items]
    for item, before in zip(items, network.train_cohorts(2), strict=True):
        assert before.digest.hex() == item["digest"]
        after = import_peft(folder / item["name"], base, name=item["name"], kind=LoraKind.COHORT)
        assert before.spec.scaling == after.spec.scaling
        inputs = base.layer("hidden").inputs
        for one, other in zip(before.factors("hidden", inputs), after.factors("hidden", inputs), strict=True):
            torch.testing.assert_close(one, other)


def test_personal_adapters_are_written_only_if_that_is_meant(tmp_path):
    result = adapter("train", "--output", tmp_path / "out", *NETWORK)

    assert result.exit_code == 2
    assert "no forget reaches them" in result.stderr
    assert CLEAR in result.stderr
    assert not (tmp_path / "out").exists()


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


def test_folder_has_the_digest_that_was_said_when_it_was_written(trained, peft):
    _, items = trained

    checked = adapter("check", peft, *NETWORK, "-o", "json")

    assert json.loads(checked.stdout)["adapter"]["digest"] == items[0]["digest"]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (not_finite, "finite"),
        (huge, "norm"),
        (other_shape, "expected"),
        (rank_bomb, "expected r from 1 to 256"),
        (header_bomb, "header"),
        (cut, "truncated"),
        (pickled, "pickle"),
    ],
)
def test_hostile_folder_is_refused_with_the_reason(peft, harm, says):
    assert adapter("check", peft, *NETWORK).exit_code == 0
    harm(peft)

    checked = adapter("check", peft, *NETWORK, "-o", "json")

    assert checked.exit_code == 1
    body = json.loads(checked.stdout)
    assert (body["accepted"], body["adapter"]) == (False, None)
    assert says in body["refusal"]
    assert "Traceback" not in checked.stderr


def test_adapter_of_another_network_is_refused(peft):
    checked = adapter("check", peft, "--task", "faces-64", "--seed", "4", "-o", "json")

    assert "another frozen backbone" in json.loads(checked.stdout)["refusal"]
    assert checked.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "nowhere", *NETWORK], "does not exist"),
        (["check", ".", "--task", "gaits"], "known: faces, faces-64, faces-yale-b, fsdd, fsdd-8, images"),
        (["check", ".", "--task", "faces"], "has no LoRA beside one crossbar layer"),
        (["check", ".", "--task", "speakers-8"], "has no LoRA beside one crossbar layer"),
        (["train", "--output", "x", "--task", "images-brief", CLEAR], "generates: it has no people"),
    ],
)
def test_what_cannot_be_done_says_what_can(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)

    result = adapter(*arguments)

    assert says in result.stderr
    assert result.exit_code == 2


def test_an_adapter_in_peft_adds_what_nodes_add(trained):
    network = Network("faces-64", 1)
    task = load_task("faces-64", 1)
    photos = task.load_people()[task.split.strangers[0]].test
    ledger = EnergyLedger(1)
    layer = task.program(load_preset("180nm-1t1r"), 1, ["chip"], ledger)
    x = (layer.front.capture(photos, ledger, Phase.INFER) - layer.centre).clamp(-127, 127).double()
    stage = Stage(task.stage.rank, task.stage.neurons, law=task.stage.law)
    samples = stage.samples(layer.capture(photos, ledger, Phase.INFER))

    for item in trained[1]:
        adapter = import_peft(trained[0] / item["name"], network.base(), name=item["name"], kind=LoraKind.COHORT)
        a, b = adapter.factors("hidden", x.shape[2])
        added = adapter.spec.scaling * x @ a.mT @ b.mT

        drives = added / layer.layer.scale * 2.0**-DRIVE_BITS
        answers = [samples.read(factor[None])[0][..., : stage.neurons] for factor in (b, torch.zeros_like(b))]
        open_ = (answers[0] > 0) & (answers[1] > 0)
        assert open_.any()
        assert drives[open_].abs().max() > 0.1
        # Nodes round A x by half a step of 2^-5, and what rows read by another.
        furthest = 2.0**-6 * float(b.abs().sum(dim=1).max()) + 2.0**-5
        assert (drives - (answers[0] - answers[1]))[open_].abs().max() <= furthest
