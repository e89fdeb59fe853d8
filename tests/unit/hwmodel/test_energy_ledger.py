"""The ledger of joules, seconds, bytes and cell writes."""

import math
import threading

import pytest

from hwmodel import Cost, EnergyLedger, LedgerError, Phase

READ = Cost(energy_j=1e-9, seconds=1e-6, bytes=3, cell_writes=0)
WRITE = Cost(energy_j=2e-9, seconds=2e-6, bytes=0, cell_writes=17)


def test_a_new_ledger_has_every_phase_at_zero():
    totals = EnergyLedger(1).totals()

    assert list(totals) == [Phase.PROGRAM, Phase.INFER, Phase.TRAIN, Phase.ERASE, Phase.VERIFY, Phase.RADIO]
    assert set(totals.values()) == {Cost()}


def test_a_cost_is_charged_to_every_node():
    ledger = EnergyLedger(3)

    ledger.charge(Phase.INFER, READ)

    assert [ledger.totals(n)[Phase.INFER] for n in range(3)] == [READ] * 3


def test_a_cost_is_charged_to_one_node():
    ledger = EnergyLedger(3)

    ledger.charge(Phase.PROGRAM, WRITE, node=1)

    assert [ledger.total(n) for n in range(3)] == [Cost(), WRITE, Cost()]


def test_a_ledger_knows_which_parts_charged_it_and_keeps_none_of_them_alive():
    class Part:
        pass

    first, second, ledger = Part(), Part(), EnergyLedger(1)
    ledger.charge(Phase.INFER, READ, by=second)
    ledger.charge(Phase.INFER, READ, by=first)
    ledger.charge(Phase.INFER, READ, by=second)
    ledger.charge(Phase.INFER, READ)

    assert ledger.parts == [second, first]
    del second
    assert ledger.parts == [first]
    assert ledger.totals()[Phase.INFER] == READ * 4


def test_each_node_is_charged_its_own_cost():
    ledger = EnergyLedger(2)

    ledger.charge(Phase.ERASE, [READ, WRITE])

    assert [ledger.totals(n)[Phase.ERASE] for n in range(2)] == [READ, WRITE]


def test_since_a_mark_is_what_one_piece_of_work_took():
    ledger = EnergyLedger(1)
    ledger.charge(Phase.PROGRAM, WRITE)
    mark = ledger.mark()
    ledger.charge(Phase.ERASE, READ)

    since = ledger.since(mark)

    assert since[Phase.ERASE] == READ
    assert since[Phase.PROGRAM] == Cost()
    assert ledger.totals()[Phase.PROGRAM] == WRITE


def test_saved_totals_come_back_after_a_crash():
    before = EnergyLedger(2)
    before.charge(Phase.PROGRAM, WRITE)
    before.charge(Phase.RADIO, READ, node=1)

    after = EnergyLedger(2)
    after.restore(before.totals(1), node=1)

    assert after.totals(1) == before.totals(1)
    assert after.total(0) == Cost()


def test_restore_replaces_what_was_there():
    ledger = EnergyLedger(1)
    ledger.charge(Phase.INFER, READ)

    ledger.restore({Phase.PROGRAM: WRITE})

    assert ledger.total() == WRITE


def test_a_mark_that_is_ahead_or_foreign_is_refused():
    ledger = EnergyLedger(1)
    ledger.charge(Phase.INFER, READ)
    mark = ledger.mark()
    ledger.restore({})

    with pytest.raises(LedgerError, match="ahead"):
        ledger.since(mark)
    with pytest.raises(LedgerError, match="no node 1"):
        EnergyLedger(1).since(EnergyLedger(2).mark(1))


def test_what_some_nodes_are_charged_the_others_do_not_pay():
    ledger = EnergyLedger(4)
    some = ledger.of([2, 0])

    some.charge(Phase.INFER, [READ, WRITE])
    some.charge(Phase.RADIO, READ, node=1)
    some.of([1]).charge(Phase.ERASE, WRITE)
    mark = some.mark(1)
    ledger.charge(Phase.INFER, READ)

    assert (some.nodes, some.totals(0), some.totals(1)) == (2, ledger.totals(2), ledger.totals(0))
    assert ledger.totals(2)[Phase.INFER] == READ + READ
    assert ledger.total(0) == WRITE + READ + WRITE + READ
    assert ledger.total(1) == ledger.total(3) == READ
    assert some.since(mark)[Phase.INFER].energy_j == pytest.approx(READ.energy_j)
    with pytest.raises(LedgerError, match="no node 2"):
        some.charge(Phase.INFER, READ, node=2)
    with pytest.raises(LedgerError, match="none twice"):
        ledger.of([1, 1])
    with pytest.raises(LedgerError, match="at least one"):
        ledger.of([])


def test_parts_are_known_where_they_were_charged():
    class Part:
        pass

    ledger, part = EnergyLedger(3), Part()
    some = ledger.of([1])
    some.charge(Phase.INFER, READ, by=part)

    assert (some.parts, ledger.parts) == ([part], [])


def test_concurrent_charges_are_all_counted():
    ledger = EnergyLedger(1)

    def charge():
        for _ in range(500):
            ledger.charge(Phase.INFER, READ)

    threads = [threading.Thread(target=charge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ledger.totals()[Phase.INFER].bytes == 2000 * READ.bytes


def test_bytes_beyond_float64_are_exact():
    ledger = EnergyLedger(1)
    ledger.charge(Phase.RADIO, Cost(bytes=2**53))
    ledger.charge(Phase.RADIO, Cost(bytes=1))

    assert ledger.total().bytes == 2**53 + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"energy_j": -1e-12},
        {"seconds": -1.0},
        {"bytes": -1},
        {"cell_writes": -1},
        {"energy_j": math.nan},
        {"seconds": math.inf},
        {"bytes": 1.5},
    ],
)
def test_a_cost_is_never_negative_nor_senseless(fields):
    with pytest.raises(LedgerError, match=next(iter(fields))):
        Cost(**fields)


def test_the_ledger_refuses_nodes_it_does_not_keep():
    ledger = EnergyLedger(2)

    with pytest.raises(LedgerError, match="no node 2"):
        ledger.charge(Phase.INFER, READ, node=2)
    with pytest.raises(LedgerError, match="no node -1"):
        ledger.totals(-1)
    with pytest.raises(LedgerError, match="got 3 costs"):
        ledger.charge(Phase.INFER, [READ] * 3)
    with pytest.raises(LedgerError, match="one Cost"):
        ledger.charge(Phase.INFER, [READ], node=0)
    with pytest.raises(LedgerError, match="at least one"):
        EnergyLedger(0)
