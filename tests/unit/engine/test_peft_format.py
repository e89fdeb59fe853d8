"""Adapters out to and in from the real PEFT, on the same small network."""

import copy
import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from edge_node.errors import AdapterBaseError, AdapterError, AdapterShapeError, AdapterSpecError, AdapterValueError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.errors import AdapterFileError, AdapterUnsupportedError
from fleet.lab.exchange.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE, export_peft, import_peft
from hwmodel import Precision

LAYERS = ("blocks.0.fc1", "conv", "fc1")


class Network(nn.Module):
    """Has an `fc1` inside and outside a block, which PEFT tells apart only if it is told to."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(64, 10)
        self.blocks = nn.ModuleList([nn.ModuleDict({"fc1": nn.Linear(10, 7)})])

    def forward(self, images):
        hidden = torch.relu(self.conv(images)).flatten(1)
        return self.blocks[0]["fc1"](torch.tanh(self.fc1(hidden)))


@pytest.fixture(scope="module")
def peft():
    os.environ["HF_HUB_OFFLINE"] = "1"
    import peft

    return peft


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def base(network):
    return FrozenBase.of("faces", {name: network.get_submodule(name).weight for name in LAYERS})


@pytest.fixture
def images():
    return draw(5, 2, 8, 8, seed=3)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapter_of(base, *, kind=LoraKind.CALIBRATION, layers=LAYERS, **fields):
    spec = LoraSpec("mine", kind, base.task, base.digest, layers, **{"rank": 3, "alpha": 4.0, **fields})
    b = {n: 0.3 * draw(base.layers[n].outputs, spec.rank, seed=1) for n in layers}
    a = {n: 0.3 * draw(spec.rank, base.layers[n].inputs, seed=2) for n in layers}
    return LoraAdapter.build(spec, base, b=b, a=a if spec.a_seed is None else None)


def with_lora(network, base, adapter, images):
    """Run the network with an adapter beside its layers."""

    def beside(name):
        a, b = adapter.factors(name, base.layers[name].inputs)

        def added(vectors):
            return (adapter.spec.scaling * (vectors.double() @ a.T) @ b.T).float()

        def hook(module, inputs, output):
            (x,) = inputs
            if isinstance(module, nn.Linear):
                return output + added(x)
            patches = functional.unfold(x, module.kernel_size, padding=module.padding, stride=module.stride)
            return output + added(patches.mT).mT.reshape(output.shape)

        return hook

    running = copy.deepcopy(network)
    for name in adapter.spec.layers:
        running.get_submodule(name).register_forward_hook(beside(name))
    return running(images)


@pytest.fixture
def trained(peft, network, images, tmp_path):
    """Train a LoRA in PEFT and save it; return its outputs."""

    def train(folder=tmp_path, **options):
        torch.manual_seed(5)
        # Without it PEFT takes names as endings: fc1 would stand for blocks.0.fc1 too.
        config = {"r": 4, "lora_alpha": 6, "target_modules": r"conv|fc1|blocks\.0\.fc1", **options}
        model = peft.get_peft_model(copy.deepcopy(network), peft.LoraConfig(**config))
        optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
        target = draw(5, 7, seed=8)
        for _ in range(20):
            optimiser.zero_grad()
            (model(images) - target).square().mean().backward()
            optimiser.step()
        model.save_pretrained(folder)
        return model.eval()(images).detach()

    return train


# Out


@pytest.mark.parametrize("storage", Precision)
@pytest.mark.parametrize("a_seed", [None, 9])
def test_peft_computes_what_the_adapter_says(peft, network, base, images, tmp_path, storage, a_seed):
    adapter = adapter_of(base, storage=storage, a_seed=a_seed)
    export_peft(adapter, base, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(network), tmp_path)(images)
    ours = with_lora(network, base, adapter, images)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert float((ours - network(images)).abs().max()) > 0.1


def test_peft_changes_exactly_the_layers_of_the_adapter(peft, network, base, images, tmp_path):
    adapter = adapter_of(base, layers=("fc1",))
    export_peft(adapter, base, tmp_path)
    model = peft.PeftModel.from_pretrained(copy.deepcopy(network), tmp_path)
    changed = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    assert changed == ["base_model.model.fc1"]
    torch.testing.assert_close(model(images), with_lora(network, base, adapter, images), rtol=1e-5, atol=1e-5)


def test_an_adapter_about_people_leaves_encryption_only_when_told_to(base, tmp_path):
    personal = adapter_of(base, kind=LoraKind.COHORT)
    with pytest.raises(AdapterError, match="PEFT files are not encrypted and no forget reaches them"):
        export_peft(personal, base, tmp_path)
    assert list(tmp_path.iterdir()) == []
    export_peft(personal, base, tmp_path, personal_in_the_clear=True)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG_FILE, TENSORS_FILE}


def test_a_network_of_one_nameless_layer_is_not_exported(tmp_path):
    base = FrozenBase.of("faces", {"(model)": draw(10, 10)})
    with pytest.raises(AdapterError, match=r"PEFT cannot address layers that are no module path: \['\(model\)'\]"):
        export_peft(adapter_of(base, layers=("(model)",)), base, tmp_path)


# In


@pytest.mark.parametrize(
    "options",
    [{}, {"use_rslora": True}, {"lora_dropout": 0.1, "init_lora_weights": "gaussian"}, {"target_modules": ["conv"]}],
    ids=str,
)
def test_the_adapter_says_what_peft_trained(network, base, images, tmp_path, trained, options):
    theirs = trained(**options)
    adapter = import_peft(tmp_path, base, name="theirs", kind=LoraKind.SHARED, built_at_generation=3)
    assert (adapter.spec.rank, adapter.spec.built_at_generation) == (4, 3)
    ours = with_lora(network, base, adapter, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert float((theirs - network(images)).abs().max()) > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_read_exactly(base, tmp_path, dtype):
    export_peft(adapter_of(base), base, tmp_path)
    halves = {n: t.to(dtype) for n, t in safetensors.torch.load_file(tmp_path / TENSORS_FILE).items()}
    safetensors.torch.save_file(halves, tmp_path / TENSORS_FILE)
    adapter = import_peft(tmp_path, base, name="half", kind=LoraKind.CALIBRATION)
    expected = halves["base_model.model.fc1.lora_B.weight"].double()
    assert torch.equal(adapter.b["fc1"].values(), expected)


@pytest.mark.parametrize("storage", [Precision.FP16, Precision.FP32])
def test_what_was_written_out_comes_back_bitwise(base, tmp_path, storage):
    adapter = adapter_of(base, storage=storage, alpha=2.5)
    export_peft(adapter, base, tmp_path)
    back = import_peft(tmp_path, base, name="mine", kind=LoraKind.CALIBRATION, storage=storage)
    assert back.digest == adapter.digest


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "'use_dora': True.* only a plain LoRA of one rank is"),
        ({"bias": "all"}, "expected peft_type LORA with bias none, got 'LORA' with 'all'"),
        ({"rank_pattern": {"fc1": 2}}, "'rank_pattern'"),
        ({"alpha_pattern": {"fc1": 2}}, "'alpha_pattern'"),
        ({"target_modules": ["conv"], "modules_to_save": ["fc1"]}, "'modules_to_save'"),
        ({"init_lora_weights": "pissa", "target_modules": r"fc1|blocks\.0\.fc1"}, "'pissa' changes the frozen"),
    ],
    ids=str,
)
def test_what_peft_can_and_an_adapter_cannot_is_refused(base, tmp_path, trained, options, reason):
    trained(**options)
    with pytest.raises(AdapterUnsupportedError, match=reason):
        import_peft(tmp_path, base, name="theirs", kind=LoraKind.SHARED)


def test_another_method_than_lora_is_refused(peft, network, base, tmp_path):
    config = peft.IA3Config(target_modules=["conv"], feedforward_modules=[])
    peft.get_peft_model(copy.deepcopy(network), config).save_pretrained(tmp_path)
    with pytest.raises(AdapterUnsupportedError, match=r"expected peft_type LORA .* got 'IA3'"):
        import_peft(tmp_path, base, name="theirs", kind=LoraKind.SHARED)


def test_a_pickle_is_never_opened(base, tmp_path):
    export_peft(adapter_of(base), base, tmp_path)
    (tmp_path / TENSORS_FILE).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterUnsupportedError, match=r"adapter_model.bin is a pickle, which can run code"):
        import_peft(tmp_path, base, name="theirs", kind=LoraKind.SHARED)


def test_an_adapter_of_ours_for_another_backbone_is_refused(base, tmp_path):
    other = FrozenBase.of("faces", {name: draw(*shape) for name, shape in shapes_of(base).items()})
    export_peft(adapter_of(other), other, tmp_path)
    with pytest.raises(AdapterBaseError, match=f"expected base digest {base.digest}, got {other.digest}"):
        import_peft(tmp_path, base, name="theirs", kind=LoraKind.SHARED)


def shapes_of(base):
    return {name: (s.outputs, *(s.kernel or (s.inputs,))) for name, s in base.layers.items()}


def edit_config(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder, change):
    tensors = safetensors.torch.load_file(folder / TENSORS_FILE)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / TENSORS_FILE)


B = "base_model.model.fc1.lora_B.weight"


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (lambda f: edit_config(f, r=10**9), AdapterShapeError, "expected r from 1 to 256, got 1000000000"),
        (lambda f: edit_config(f, r="4"), AdapterShapeError, "expected r from 1 to 256, got '4'"),
        (lambda f: edit_config(f, r=5), AdapterShapeError, r"BF16 \[5, .* got 'F32' \[3, "),
        (lambda f: edit_config(f, lora_alpha=0), AdapterFileError, "expected lora_alpha above 0"),
        (lambda f: edit_config(f, lora_alpha=float("inf")), AdapterFileError, "Infinity is no number"),
        (lambda f: edit_config(f, lora_alpha=1e8), AdapterValueError, "has norm up to"),
        (lambda f: edit_config(f, lora_bias=True), AdapterUnsupportedError, "'lora_bias': True"),
        (lambda f: edit_config(f, future_feature="on"), AdapterUnsupportedError, "'future_feature': 'on'"),
        (lambda f: (f / CONFIG_FILE).write_text("[]"), AdapterFileError, "a JSON list; expected an object"),
        (lambda f: (f / CONFIG_FILE).write_text('{"r": 4, "r": 5}'), AdapterFileError, "'r' is there twice"),
        (lambda f: (f / CONFIG_FILE).unlink(), AdapterFileError, "there is no adapter_config.json"),
        (lambda f: (f / TENSORS_FILE).unlink(), AdapterFileError, "there is no adapter_model.safetensors"),
        (lambda f: (f / TENSORS_FILE).write_bytes(bytes(1 << 22)), AdapterFileError, "is larger than"),
        (lambda f: (f / TENSORS_FILE).write_bytes(b"\xff" * 9), AdapterFileError, "expected at most 1048576"),
        (lambda f: edit_tensors(f, lambda t: t[B].fill_(torch.nan)), AdapterValueError, "30 of 30 numbers are NaN"),
        (lambda f: edit_tensors(f, lambda t: t[B].fill_(1e20)), AdapterValueError, "'fc1' has norm up to"),
        (lambda f: edit_tensors(f, lambda t: t.pop(B)), AdapterShapeError, "has no tensor .*fc1.lora_B.weight"),
        (
            lambda f: edit_tensors(f, lambda t: t.update({B: t[B].mT.contiguous()})),
            AdapterShapeError,
            r"BF16 \[10, 3\], got 'F32' \[3, 10\]",
        ),
        (
            lambda f: edit_tensors(f, lambda t: t.update({B: t[B].to(torch.int8)})),
            AdapterShapeError,
            r"BF16 \[10, 3\], got 'I8' \[10, 3\]",
        ),
        (
            lambda f: edit_tensors(f, lambda t: t.update({B.replace("fc1", "fc9"): draw(10, 3)})),
            AdapterShapeError,
            "no layer 'fc9'",
        ),
        (
            lambda f: edit_tensors(f, lambda t: t.update({"base_model.model.fc1.bias": draw(10)})),
            AdapterUnsupportedError,
            "is no factor of a LoRA",
        ),
    ],
)
def test_hostile_peft_files_are_refused(base, tmp_path, spoil, error, reason):
    export_peft(adapter_of(base), base, tmp_path)
    assert import_peft(tmp_path, base, name="x", kind=LoraKind.SHARED).spec.rank == 3
    spoil(tmp_path)
    with pytest.raises(error, match=reason):
        import_peft(tmp_path, base, name="x", kind=LoraKind.SHARED)


def test_what_the_format_does_not_say_is_checked_too(base, tmp_path):
    export_peft(adapter_of(base), base, tmp_path)
    with pytest.raises(AdapterSpecError, match="cannot name an adapter"):
        import_peft(tmp_path, base, name="../x", kind=LoraKind.SHARED)


def test_exchange_needs_neither_peft_nor_transformers():
    script = (
        "import sys, fleet.lab.exchange.peft_format\n"
        "print(sorted({'peft', 'transformers', 'accelerate', 'huggingface_hub'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
