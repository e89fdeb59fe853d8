"""Networks: the counts of arXiv 2601.10037, files of one's own, and derivation from a torch module."""

import pytest
import torch
from torch import nn

from hwmodel import Crossbar, NetworkError, NetworkSpec, TrainingFacts, load_network, load_preset, network_names
from hwmodel.networks import LayerSpec

PAPER = {
    "face-mixer": {
        "crossbar_weights": 5_048,
        "parameters": 5_148,
        "lora_parameters": 1_404,
        "macs": 87_160,
        "lora_macs": 20_124,
        "digital_macs": 0,
        "passes_per_output": 1,
    },
    "speaker-lsm": {
        "crossbar_weights": 336_384,
        "lora_parameters": 13_408,
        "macs": 3_340_800,
        "lora_macs": 134_080,
        "digital_macs": 0,
        "passes_per_output": 1,
    },
    "image-dit": {
        "crossbar_weights": 101_093_376,
        "lora_parameters": 368_640,
        "macs": 3_670_671_360,
        "lora_macs": 23_592_960,
        "digital_macs": 12 * 49 * 768 * 64,
        "passes_per_output": 200,
    },
}

OWN = """
name = "own"
title = "A network of one's own"
source = "test"

[[layers]]
name = "in"
inputs = 300
outputs = 200
uses = 2
lora_rank = 4

[[layers]]
name = "block"
repeat = 3

[[layers.layers]]
name = "fc"
inputs = 200
outputs = 200
uses = 1

[lora]
alpha = 8
source = "test"
"""


@pytest.fixture
def own_file(tmp_path):
    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(("name", "count"), [(name, count) for name in PAPER for count in PAPER[name]])
def test_counts_equal_those_of_the_paper(name, count):
    assert getattr(load_network(name), count) == PAPER[name][count]


def test_the_three_networks_of_the_paper_come_with_the_package():
    assert network_names() == tuple(sorted(PAPER))


@pytest.mark.parametrize(
    ("name", "tiles", "utilisation"),
    [("face-mixer", 10, 0.031), ("speaker-lsm", 28, 0.73), ("image-dit", 6_180, 0.998)],
)
def test_tiles_of_128_and_their_utilisation(name, tiles, utilisation):
    network, preset = load_network(name), load_preset("180nm-1t1r")

    assert network.tiles(preset) == tiles
    assert network.utilisation(preset) == pytest.approx(utilisation, rel=0.01)


def test_two_cells_per_weight_take_twice_the_columns():
    layer = LayerSpec(name="fc", inputs=512, outputs=512, uses=1)
    single = load_preset("180nm-1t1r")
    differential = single.with_values({"tile.cells_per_weight": 2})

    assert layer.tiles(differential) == 2 * layer.tiles(single) == 32


def test_a_layer_with_groups_stays_digital():
    depthwise = LayerSpec(name="depthwise", inputs=49, outputs=1, groups=768, uses=64)

    assert not depthwise.on_crossbar
    assert depthwise.tiles(load_preset("180nm-1t1r")) == 0
    assert depthwise.macs == 49 * 768 * 64


def test_a_layer_of_reads_has_the_uses_and_the_density_of_a_sample():
    crossbar = Crossbar.program(
        torch.ones(8, 16), load_preset("180nm-1t1r"), fleet_seed=1, nodes=("a", "b"), layer="fc"
    )
    spikes = torch.zeros(2, 14, 16, dtype=torch.int32)
    spikes[1, :, :4] = 127

    with pytest.raises(NetworkError, match="0 reads for 4 samples tell no uses"):
        LayerSpec.of_reads("fc", crossbar, 4)
    crossbar.mvm(spikes, sparse=True)
    layer = LayerSpec.of_reads("fc", crossbar, 4, node=1)

    assert (layer.name, layer.inputs, layer.outputs, layer.uses, layer.input_density) == ("fc", 16, 8, 4, 0.25)
    # 14 reads of nothing.
    assert LayerSpec.of_reads("fc", crossbar, 4).input_density == pytest.approx(1 / (14 * 16))


def test_absent_spikes_spare_the_first_factor_of_a_lora_but_not_the_second():
    layer = LayerSpec(name="fc", inputs=100, outputs=40, uses=10, lora_rank=8, input_density=0.05)

    assert layer.lora_macs == 10 * 8 * 140
    assert layer.lora_active_macs == pytest.approx(10 * 8 * (5 + 40))


def test_a_repeated_block_is_written_out(own_file):
    network = load_network(own_file(OWN))

    assert [layer.name for layer in network.layers] == ["in", "block1.fc", "block2.fc", "block3.fc"]
    assert network.crossbar_weights == 300 * 200 + 3 * 200 * 200
    assert network.parameters == network.crossbar_weights


def test_a_path_given_as_text_is_loaded_too(own_file):
    assert load_network(str(own_file(OWN))) == load_network(own_file(OWN))


def test_all_faults_of_a_file_are_named_at_once(own_file):
    faulty = (
        OWN.replace("repeat = 3", "repeat = 0\ncolour = 1")
        .replace("uses = 2", "uses = 0")
        .replace("lora_rank = 4", "lora_rank = 4.5\nrank = 3")
        .replace("alpha = 8", "alpha = -8")
    )

    with pytest.raises(NetworkError) as refused:
        load_network(own_file(faulty))

    message = str(refused.value)
    for fault in (
        "layers.block.repeat: must be a whole number of at least 1; got 0",
        "layers.block: a repeated block has name, repeat and layers only, not colour",
        "layers.in.uses",
        "layers.in.lora_rank",
        "layers.in.rank: Extra inputs are not permitted",
        "lora.alpha",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "fc"', "", r"layers\.1\.name: Field required"),
        ('name = "block"', "", "layers.None: a repeated block needs a name"),
        ('name = "in"', 'name = "block1.fc"', "layer names must be unique; given twice: block1.fc"),
        ("lora_rank = 4", "lora_rank = 201", "lora_rank 201 is above the rank"),
        ("lora_rank = 4", "lora_rank = 4\ngroups = 2", "a LoRA needs one matrix"),
        ("lora_rank = 4", "input_density = 0.5", r"add \[density\] with its source"),
        ("[lora]", "[other]", r"other\.alpha: Extra inputs"),
        ('[lora]\nalpha = 8\nsource = "test"', "", r"add \[lora\] with alpha and source"),
        ("[[layers.layers]]", "[layers.layer]", "block.layers: a repeated block needs layers of its own"),
        ('name = "own"', 'name = "../own"', "name: String should match"),
        ("name =", "name", "is not TOML"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(own_file, old, new, complaint):
    with pytest.raises(NetworkError, match=complaint):
        load_network(own_file(OWN.replace(old, new)))


def test_an_unknown_name_tells_the_known_ones(tmp_path):
    with pytest.raises(NetworkError, match="no network 'mixer'; there are: face-mixer, image-dit, speaker-lsm"):
        load_network("mixer")
    with pytest.raises(NetworkError, match=r"cannot read network .*absent.toml: No such file"):
        load_network(tmp_path / "absent.toml")


class SmallVision(nn.Module):
    """Convolution, depthwise convolution, and one linear layer that is used twice per position."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8, bias=False)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5, bias=False)

    def forward(self, images):
        features = self.depthwise(self.norm(self.stem(images))).flatten(2).transpose(1, 2)
        return self.head(self.mix(self.mix(features)).mean(1))


def test_layers_and_uses_are_counted_in_a_forward_pass():
    network = NetworkSpec.of(SmallVision(), torch.zeros(1, 3, 16, 16), lora_ranks={"mix": 2})

    shapes = {layer.name: (layer.inputs, layer.outputs, layer.groups, layer.uses) for layer in network.layers}
    assert shapes == {"stem": (27, 8, 1, 64), "depthwise": (49, 1, 8, 64), "mix": (8, 8, 1, 128), "head": (8, 5, 1, 1)}
    assert network.lora_parameters == 2 * 16
    assert network.parameters == sum(p.numel() for p in SmallVision().parameters())


def test_derivation_leaves_the_module_as_it_was():
    model = SmallVision().train()
    model.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    NetworkSpec.of(model, torch.ones(1, 3, 16, 16))

    assert model.training
    assert model.norm.training
    assert not model.head.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.mix._forward_hooks


def test_derivation_works_without_memory_on_the_meta_device():
    with torch.device("meta"):
        wide = nn.Sequential(nn.Linear(100_000, 100_000, bias=False), nn.ReLU())
        network = NetworkSpec.of(
            wide,
            (torch.zeros(1, 7, 100_000),),
            lora_ranks=4,
            training=TrainingFacts(full_steps=2, lora_steps=1, batch=8, source="test"),
        )

    assert network.crossbar_weights == 10**10
    assert network.layers[0].uses == 7
    assert network.lora_parameters == 4 * 200_000
    assert network.training.lora_steps == 1


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 8))
        self.fc = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)

    def forward(self, tokens):
        return self.fc(tokens + self.position)


def test_matrices_out_of_sight_are_refused_unless_said_to_be_elementwise():
    with pytest.raises(NetworkError, match=r"weights outside nn\.Linear and nn\.Conv2d: position"):
        NetworkSpec.of(Positions(), torch.zeros(1, 4, 8))
    with pytest.raises(NetworkError, match="in_proj_weight"):
        NetworkSpec.of(nn.MultiheadAttention(8, 2), (torch.zeros(1, 1, 8),) * 3)
    with pytest.raises(NetworkError, match="not called in the forward pass: unused"):
        NetworkSpec.of(Positions(), torch.zeros(1, 4, 8), elementwise=["position"])


@pytest.mark.parametrize(
    ("ranks", "complaint"),
    [
        ({"depthwise": 2}, "lora_ranks names no crossbar layer: depthwise"),
        ({"nose": 2}, "lora_ranks names no crossbar layer: nose"),
        ({"head": 6}, "lora_rank 6 is above the rank"),
    ],
)
def test_an_impossible_lora_is_refused(ranks, complaint):
    with pytest.raises(NetworkError, match=complaint):
        NetworkSpec.of(SmallVision(), torch.zeros(1, 3, 16, 16), lora_ranks=ranks)


def test_a_module_without_layers_is_refused():
    with pytest.raises(NetworkError, match=r"ReLU has neither nn\.Linear nor nn\.Conv2d"):
        NetworkSpec.of(nn.ReLU(), torch.zeros(1, 3))
