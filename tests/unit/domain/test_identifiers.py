import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState
from fleet.domain.tags import new_id, validate_id, validate_node_id, validate_tag, validate_tags
from fleet.errors import InvalidInputError

TAG = "0123456789abcdef" * 2


def test_a_fresh_tag_is_valid_and_random():
    assert validate_tag(new_tag()) != validate_tag(new_tag())


@pytest.mark.parametrize("tag", ["", "s07", TAG.upper(), TAG[:-1], TAG + "0", TAG[:-1] + "g", TAG + "\n"])
def test_what_is_not_32_lower_case_hex_digits_is_refused(tag):
    with pytest.raises(InvalidInputError):
        validate_tag(tag)


def test_a_name_given_for_a_tag_is_not_repeated_in_the_error():
    with pytest.raises(InvalidInputError) as refused:
        validate_tag("Jane Doe")
    assert "Jane" not in str(refused.value) + refused.value.hint


def test_tags_are_sorted_and_counted_once():
    assert validate_tags(["b" * 32, "a" * 32, "b" * 32]) == ("a" * 32, "b" * 32)


def test_no_tag_at_all_is_refused():
    with pytest.raises(InvalidInputError, match="no subject tag"):
        validate_tags([])


def test_the_layout_of_an_id_is_that_of_a_ulid():
    # github ulid/spec: 1469918176385 ms is 01ARYZ6S41.
    assert new_id(1469918176385, bytes) == "01aryz6s41" + "0" * 16
    assert new_id(2**48 - 1, lambda size: b"\xff" * size) == "7" + "z" * 25


@pytest.mark.parametrize("identifier", ["", "8" + "0" * 25, "0" * 25, "0" * 25 + "u", "0" * 27, "A" * 26])
def test_what_new_id_never_makes_is_refused(identifier):
    with pytest.raises(InvalidInputError):
        validate_id(identifier)


def test_a_time_that_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="48 bits"):
        new_id(2**48)


@pytest.mark.parametrize("node_id", ["node-1", "a", "rack.7_slot-3", "x" * 64])
def test_node_ids_that_are_fine(node_id):
    assert validate_node_id(node_id) == node_id


@pytest.mark.parametrize("node_id", ["", "-a", "a-", "A", "a b", "../a", "x" * 65, "a\n"])
def test_node_ids_that_are_refused(node_id):
    with pytest.raises(InvalidInputError):
        validate_node_id(node_id)


@pytest.mark.parametrize(
    ("ours", "wire", "prefix"),
    [
        (ServeState, types.ServeState, "SERVE_STATE_"),
        (QuarantineReason, types.QuarantineReason, "QUARANTINE_REASON_"),
        (EnergyPhase, types.EnergyPhase, "ENERGY_PHASE_"),
    ],
)
def test_words_are_those_of_the_wire(ours, wire, prefix):
    names = {name.removeprefix(prefix).lower() for name in wire.keys()}  # noqa: SIM118 - no mapping
    assert {member.value for member in ours} | {"unspecified"} == names
