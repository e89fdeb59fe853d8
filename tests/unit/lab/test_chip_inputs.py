"""Presets and networks as an operator names them."""

from __future__ import annotations

import pytest

import hwmodel
from fleet.errors import InvalidInputError, NotFoundError
from fleet.lab.chip.inputs import given_networks, given_preset, preset_toml

NETWORK = """
name = "tiny"
title = "One layer"
source = "this test"
[[layers]]
name = "only"
inputs = 8
outputs = 4
uses = 1
"""


def test_all_stands_for_every_network_and_none_comes_twice():
    networks = given_networks(["speaker-lsm", "all", "speaker-lsm"])

    assert networks[0].name == "speaker-lsm"
    assert sorted(network.name for network in networks) == sorted(hwmodel.network_names())


def test_users_own_network_is_taken_from_any_file(tmp_path):
    file = tmp_path / "tiny.conf"
    file.write_text(NETWORK)

    (network,) = given_networks([str(file)])

    assert (network.name, network.crossbar_weights) == ("tiny", 32)


def test_two_networks_of_one_name_are_refused_with_both_files(tmp_path):
    files = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for file in files:
        file.write_text(NETWORK)

    with pytest.raises(InvalidInputError, match=r"b\.toml and .*a\.toml are both called 'tiny'"):
        given_networks([str(file) for file in files])


def test_bad_network_file_is_refused_with_all_its_faults(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(NETWORK.replace("inputs = 8", "inputs = 0").replace('title = "One layer"\n', ""))

    with pytest.raises(InvalidInputError, match=r"(?s)title.*inputs|inputs.*title"):
        given_networks([str(file)])


@pytest.mark.parametrize("given", [given_preset, lambda name: given_networks([name])])
def test_unknown_name_is_not_found_and_the_known_ones_are_named(given):
    with pytest.raises(NotFoundError, match="neither built in nor a file") as caught:
        given("nonesuch")

    assert "Built in: " in caught.value.hint


def test_no_network_at_all_is_refused():
    with pytest.raises(InvalidInputError, match="no network"):
        given_networks([])


def test_bad_preset_file_is_refused_with_all_its_faults(tmp_path):
    file = tmp_path / "mine.toml"
    text = preset_toml("180nm-1t1r")
    text = text.replace("pulse_voltage_v = { value = 1.8,", "pulse_voltage_v = { value = 9.9,")
    file.write_text(text.replace("[radio]", "[radio]\nantennas = 2", 1))

    with pytest.raises(InvalidInputError, match=r"(?s)pulse_voltage_v.*antennas|antennas.*pulse_voltage_v"):
        given_preset(str(file))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pulse_voltage_v = { value = 1.8,", "pulse_voltage_v = { value = 2.0,"),
        ("low = 1.2, high = 4.0,", "low = 1.1, high = 4.0,"),
        ("PRIME and ISAAC 2 V", "nobody"),
    ],
    ids=["value", "range", "source"],
)
def test_edited_preset_under_a_built_ins_name_and_version_is_refused(tmp_path, old, new):
    file, text = tmp_path / "mine.toml", preset_toml("180nm-1t1r")
    edited = text.replace(old, new, 1)
    assert edited != text
    file.write_text(edited)

    with pytest.raises(InvalidInputError, match=r"mine\.toml calls itself 180nm-1t1r version 2") as caught:
        given_preset(str(file))

    assert "another name or version" in caught.value.hint


@pytest.mark.parametrize(
    ("kept", "other"), [('name = "180nm-1t1r"', 'name = "mine"'), ('version = "2"', 'version = "2-mine"')]
)
def test_edited_preset_of_another_name_or_version_is_taken(tmp_path, kept, other):
    file = tmp_path / "mine.toml"
    text = preset_toml("180nm-1t1r").replace("pulse_voltage_v = { value = 1.8,", "pulse_voltage_v = { value = 2.0,")
    file.write_text(text.replace(kept, other))

    assert given_preset(str(file)).write_verify.pulse_voltage_v == 2.0


def test_preset_that_no_chip_can_be_made_of_is_refused(tmp_path):
    file = tmp_path / "mine.toml"
    text = preset_toml("180nm-1t1r").replace('name = "180nm-1t1r"', 'name = "mine"')
    file.write_text(text.replace('programming_error = "constant"', 'programming_error = "milo"'))

    with pytest.raises(InvalidInputError, match="50 to 225 uS that programming error 'milo' covers") as caught:
        preset_toml(str(file))
    assert "No chip can be made of it" in caught.value.hint


def test_text_of_a_preset_loads_as_the_same_preset(tmp_path):
    file = tmp_path / "copy.toml"
    file.write_text(preset_toml("22nm"))

    assert given_preset(str(file)).quantities == given_preset("22nm").quantities
    assert preset_toml(str(file)) == preset_toml("22nm")
