import pytest

from fleet.domain.execution import ExecutionState as S
from fleet.domain.node import EnergyPhase
from fleet.store.rows import CostSumRow, NodeCostRow, ReceiptRow

ALICE = "aa" * 16
MOST = 2**53


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def figures(campaign_id, node_id, **changes):
    erased = {"subject_adapters_erased": 1, "lora_rows_erased": 0, "code_samples_erased": 0, "reram_writes": 0}
    digests = {"payload_hash": b"payload", "checks_digest": b"checks"}
    model = {"energy_model_name": f"of {node_id}", "energy_model_version": "1"}
    return ReceiptRow(campaign_id=campaign_id, node_id=node_id, **{**erased, **digests, **model, **changes})


def cost(node_id, phase, count):
    return NodeCostRow(node_id, phase, energy_j=0.5, seconds=1.0, bytes=count, cell_writes=0)


def verify(tx, campaign_id, node_id, count=1, **changes):
    """Take a node's execution to VERIFIED, with the figures of its receipt."""
    tx.forgets.set_execution(campaign_id, node_id, S.SUPPRESSED)
    tx.forgets.set_execution(campaign_id, node_id, S.APPLYING, challenge_nonce=b"nonce")
    tx.forgets.set_execution(campaign_id, node_id, S.APPLIED, receipt=b"receipt")
    tx.forgets.set_execution(campaign_id, node_id, S.VERIFIED)
    costs = [cost(node_id, phase, count) for phase in (EnergyPhase.VERIFY, EnergyPhase.ERASE)]
    tx.receipts.keep(figures(campaign_id, node_id, **changes), costs)


def test_what_a_forget_cost_is_summed_up_by_phase_however_much_nodes_claim(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    assert (tx.receipts.costs(campaign_id), tx.receipts.first(campaign_id)) == ([], None)
    for node_id in ("n1", "n2"):
        verify(tx, campaign_id, node_id, MOST)
    assert tx.receipts.costs(campaign_id) == [
        CostSumRow(phase, energy_j=1.0, seconds=2.0, bytes=2 * MOST, cell_writes=0)
        for phase in (EnergyPhase.ERASE, EnergyPhase.VERIFY)
    ]
    assert tx.receipts.first(campaign_id).energy_model_name == "of n1"


@pytest.mark.parametrize("erased", ["subject_adapters_erased", "lora_rows_erased", "code_samples_erased"])
def test_more_than_the_planted_probe_was_erased_if_one_receipt_says_so(tx, commit, erased):
    campaign_id = commit(tx, ALICE).campaign_id
    verify(tx, campaign_id, "n1")
    assert not tx.receipts.any_erased(campaign_id, beyond=1)
    verify(tx, campaign_id, "n2", **{erased: 2})
    assert tx.receipts.any_erased(campaign_id, beyond=1)


@pytest.mark.parametrize("target", [S.PENDING, S.HELD])
def test_receipt_of_a_node_that_has_to_forget_anew_counts_no_more(tx, commit, target):
    campaign_id = commit(tx, ALICE).campaign_id
    verify(tx, campaign_id, "n1")
    tx.forgets.set_execution(campaign_id, "n1", target, "restored from a backup")
    assert tx.receipts.first(campaign_id) is None
    assert tx.receipts.costs(campaign_id) == []
    assert tx.receipts.reram_writes(campaign_id) == 0
