import pytest

from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.store import Store, schema
from fleet.store.rows import NodeCostRow
from tests.unit.store.kinds import lasting


def test_enrolling_is_idempotent(store, identity, clock):
    clock.now_ms += 1000
    with store.transaction() as tx:
        first, created = tx.nodes.enroll(identity("n3"))
        again, created_again = tx.nodes.enroll(identity("n3"))
    assert (created, created_again) == (True, False)
    assert again == first
    assert first.enrolled_at_ms == clock.now_ms


def test_a_node_that_has_a_name_no_new_node_gets_stays_enrolled(store, identity):
    old = identity("rack.7_slot-3")
    with store.transaction() as tx:
        with pytest.raises(InvalidInputError, match="cannot name a node"):
            tx.nodes.enroll(old)
        tx.nodes._insert(
            schema.node,
            node_id=old.node_id,
            receipt_public_key=old.receipt_public_key,
            sealing_public_key=old.sealing_public_key,
            flower_public_key=old.flower_public_key,
            enrolled_at_ms=1,
        )
        _, created = tx.nodes.enroll(old)

    assert not created


def test_the_same_id_with_other_keys_is_a_conflict(store, identity):
    with pytest.raises(ConflictError, match="enrolled with other keys"), store.transaction() as tx:
        tx.nodes.enroll(identity("n1", key=b"x" * 32))


def test_a_copied_state_folder_is_a_conflict(store, identity):
    copied = identity("n9", key=identity("n1").receipt_public_key)
    with pytest.raises(ConflictError, match="with the receipt key of n9"), store.transaction() as tx:
        tx.nodes.enroll(copied)


def test_a_malformed_identity_changes_nothing(store, identity):
    with store.transaction() as tx:
        with pytest.raises(InvalidInputError, match="32 raw bytes"):
            tx.nodes.enroll(identity("n9", key=b"short"))
        with pytest.raises(InvalidInputError, match="cannot name a node"):
            tx.nodes.enroll(identity("../n9"))
        assert [row.node_id for row in tx.nodes.list()] == ["n1", "n2"]


def test_an_unknown_node_is_not_found(store):
    with store.transaction() as tx:
        for call in (tx.nodes.get, tx.nodes.touch, tx.nodes.release):
            with pytest.raises(NotFoundError, match="no node 'n9'"):
                call("n9")
        with pytest.raises(NotFoundError, match="no node 'n9'"):
            tx.nodes.retire("n9", "lost")


def test_a_sign_of_life_keeps_what_it_does_not_mention(store, clock):
    with store.transaction() as tx:
        tx.nodes.touch("n1", generation=3, serve_state=ServeState.SERVING)
    clock.now_ms += 1000
    with store.transaction() as tx:
        tx.nodes.touch("n1", serve_state=ServeState.QUARANTINED, quarantine_reason=QuarantineReason.LEASE_EXPIRED)
        row = tx.nodes.get("n1")
    assert (row.generation, row.serve_state) == (3, ServeState.QUARANTINED)
    assert row.quarantine_reason is QuarantineReason.LEASE_EXPIRED
    assert row.last_contact_ms == clock.now_ms


def test_a_restored_node_is_believed_when_it_is_behind(store):
    with store.transaction() as tx:
        tx.nodes.touch("n1", generation=3)
        tx.nodes.touch("n1", generation=0)
        assert tx.nodes.get("n1").generation == 0


def test_flower_ids_of_all_64_bits_come_back(store):
    with store.transaction() as tx:
        tx.nodes.set_flower_node_id("n1", 2**64 - 1)
        assert tx.nodes.get("n1").flower_node_id == 2**64 - 1


def test_a_held_node_has_a_reason_until_it_is_released(store):
    with store.transaction() as tx:
        tx.nodes.hold("n1", "receipt contradicts")
        assert tx.nodes.get("n1").held_reason == "receipt contradicts"
        tx.nodes.release("n1")
        assert tx.nodes.get("n1").held_reason == ""
        with pytest.raises(InvalidInputError, match="needs a reason"):
            tx.nodes.hold("n1", "")


def test_a_retired_node_is_listed_only_on_demand_and_stays_out(store, identity):
    with store.transaction() as tx:
        tx.nodes.retire("n1", "lost")
        assert [row.node_id for row in tx.nodes.list()] == ["n2"]
        assert [row.node_id for row in tx.nodes.list(include_retired=True)] == ["n1", "n2"]
        with pytest.raises(ConflictError, match="was retired"):
            tx.nodes.enroll(identity("n1"))


@lasting
def test_what_a_node_said_last_is_read_at_once_and_survives_once_it_is_written(store, url):
    store.contacts.note("n1", lease_until_ms=5, serve_state=ServeState.SERVING)
    store.contacts.note("n1", (NodeCostRow("n1", EnergyPhase.ERASE, 2.0, 1.0, 3, 0),), inferences=7)
    with Store.open(url) as other, other.snapshot() as tx:
        assert (tx.nodes.get("n1").lease_until_ms, tx.nodes.costs(["n1"])["n1"]) == (None, [])

    with store.snapshot() as tx:
        row = tx.nodes.get("n1")
        assert (row.lease_until_ms, row.serve_state, row.inferences) == (5, ServeState.SERVING, 7)
        assert [cost.energy_j for cost in tx.nodes.costs(["n1"])["n1"]] == [2.0]
    unwritten = store.contacts.unwritten()
    store.contacts.note("n2", inferences=1)
    with store.transaction() as tx:
        tx.nodes.write_contacts(unwritten)
    store.contacts.written(unwritten)

    assert set(store.contacts.unwritten()) == {"n2"}
    with Store.open(url) as other, other.snapshot() as tx:
        row = tx.nodes.get("n1")
        assert (row.lease_until_ms, row.serve_state, row.inferences) == (5, ServeState.SERVING, 7)
        assert [cost.energy_j for cost in tx.nodes.costs(["n1"])["n1"]] == [2.0]
        assert tx.nodes.get("n2").inferences == 0


def test_after_a_crash_every_node_that_was_heard_of_may_serve_as_long_as_any_lease(store):
    with store.transaction() as tx:
        tx.nodes.touch("n1")
        tx.nodes.extend_leases(50)
        assert (tx.nodes.get("n1").lease_until_ms, tx.nodes.get("n2").lease_until_ms) == (50, None)
        tx.nodes.extend_leases(40)
        assert tx.nodes.get("n1").lease_until_ms == 50


def test_a_retired_node_is_held_since_a_report_may_be_on_its_way(store):
    with store.transaction() as tx:
        tx.nodes.retire("n1", "stolen")
        assert tx.nodes.get("n1").held_reason == "retired: stolen"


def test_the_receipt_chain_only_moves_on(store):
    with store.transaction() as tx:
        tx.nodes.accept_receipt("n1", 1, b"h" * 32)
        row = tx.nodes.get("n1")
        assert (row.receipt_counter, row.last_receipt_hash) == (1, b"h" * 32)
        with pytest.raises(ConflictError, match="counter 1 of n1 is not above"):
            tx.nodes.accept_receipt("n1", 1, b"x" * 32)


def test_costs_are_replaced_phase_by_phase(store):
    def cost(phase, energy_j):
        return NodeCostRow("n1", phase, energy_j, 0.5, 2**40, 7)

    with store.transaction() as tx:
        tx.nodes.save_costs([cost(EnergyPhase.RADIO, 1.0), cost(EnergyPhase.PROGRAM, 2.0)])
        tx.nodes.save_costs([cost(EnergyPhase.RADIO, 3.0)])
        assert tx.nodes.costs(["n1"])["n1"] == [cost(EnergyPhase.PROGRAM, 2.0), cost(EnergyPhase.RADIO, 3.0)]
        assert tx.nodes.costs(["n2"])["n2"] == []


def test_costs_of_the_fleet_are_those_of_its_nodes_without_retired_ones(store):
    with store.transaction() as tx:
        for node_id, energy_j in (("n1", 1.0), ("n2", 2.0)):
            cost = NodeCostRow(node_id, EnergyPhase.RADIO, energy_j=energy_j, seconds=1.0, bytes=7, cell_writes=0)
            tx.nodes.save_costs([cost])
            tx.nodes.touch(node_id, energy_model_name=f"of {node_id}", energy_model_version="1")
        (total,) = tx.nodes.total_costs()
        assert (total.energy_j, total.bytes, tx.nodes.energy_model()) == (3.0, 14, ("of n1", "1"))
        tx.nodes.retire("n1", "stolen")
        (total,) = tx.nodes.total_costs()
        assert (total.energy_j, tx.nodes.energy_model(), tx.nodes.count()) == (2.0, ("of n2", "1"), 1)


def test_nodes_are_listed_page_by_page(store, identity):
    with store.transaction() as tx:
        tx.nodes.enroll(identity("n3"))
        tx.nodes.retire("n2", "stolen")
        assert [node.node_id for node in tx.nodes.page(limit=1)] == ["n1"]
        assert [node.node_id for node in tx.nodes.page(after="n1", limit=5)] == ["n3"]


def test_the_overhead_is_kept_byte_for_byte(store):
    with store.transaction() as tx:
        tx.nodes.touch("n1", overhead=b"\0\xff")
        assert tx.nodes.get("n1").overhead == b"\0\xff"
