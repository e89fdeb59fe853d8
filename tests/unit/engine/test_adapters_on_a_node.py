import numpy as np
import pytest
import torch
from reram_fleet.crypto.digests import adapters_digest, lora_digest, subject_digests
from reram_fleet.v1.types_pb2 import LoraRow, LoraShape, RevisionContent, SharedLora, SubjectAdapter

from edge_node.errors import AdapterError, EngineError
from edge_node.recognition.lora.output_layer import frozen_a
from edge_node.recognition.score_calibration import FALSE_REJECT_SHARE, genuine_scores
from edge_node.tasks.speakers import SPEAKERS
from fleet.coordinator.learning.lora_state import installable
from hwmodel import Cost, Phase
from tests.lora_states import arrays_with


def shape_of(engine, rank=4):
    return LoraShape(features=engine.features, rank=rank, alpha=rank, a_seed=5, scale_bits=14)


def lora_of(engine, tags, size=0.3):
    b = size * torch.randn(len(tags), 4, generator=torch.Generator().manual_seed(3))
    return installable(arrays_with(tags, b), shape_of(engine))


def digest_of(engine):
    lora = engine.active_lora(0)
    return adapters_digest(subject_digests(engine.active_subjects(0)), lora_digest(lora) if lora else b"")


def canary(engine, tag, seed):
    codes = np.random.default_rng(seed).integers(-9000, 9001, engine.features)
    return codes, SubjectAdapter(subject_tag=tag, count=30, code_sum=(30 * codes).tolist())


def identify_vector(engine, codes):
    return engine.identify(torch.from_numpy(codes)[None, None], Phase.VERIFY)


def test_node_without_adapters_knows_nobody(device, captured):
    answer = device.identify(next(iter(captured.values()))[1][None])
    assert set(answer.best_tag[0]) == {""}
    assert not bool(answer.accepted.any())
    assert set(answer.best_tag_subject_only[0]) == {""}


def test_closed_form_identifies_the_enrolled_people(device, captured, adapters):
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    hits = [
        best == tag
        for tag, (_, test) in captured.items()
        for best in device.identify(test[None]).best_tag_subject_only[0]
    ]
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize("with_lora", [False, True])
def test_dropping_a_person_leaves_bitwise_what_never_knew_them(device, captured, adapters, with_lora):
    tags = sorted(adapters)
    codes = torch.cat([test for _, test in captured.values()])[None]
    rest = tags[1:]
    for tag in rest:
        device.set_subject(0, adapters[tag])
    full = lora_of(device, tags)
    if with_lora:
        device.set_lora(0, SharedLora(shape=full.shape, rows=full.rows[1:]))
    never, never_digest = device.identify(codes), digest_of(device)

    device.drop_subjects(0, tags)
    for tag in reversed(tags):
        device.set_subject(0, adapters[tag])
    if with_lora:
        device.set_lora(0, full)
    assert device.identify(codes).best_tag != never.best_tag
    assert device.drop_subjects(0, tags[:1]) == 1

    after = device.identify(codes)
    assert digest_of(device) == never_digest
    assert torch.equal(after.score, never.score)
    assert after.best_tag == never.best_tag


def test_dropping_masks_lora_rows_and_charges_the_erasure(device, adapters):
    tags = sorted(adapters)
    device.set_subject(0, adapters[tags[0]])
    device.set_lora(0, lora_of(device, tags[:2]))
    mark = device.ledger.mark()
    assert device.drop_subjects(0, [tags[0], "unknown"]) == 1
    spent = device.ledger.since(mark)[Phase.ERASE]
    assert (spent.bytes, spent.cell_writes) == (4 * device.features + 2 * 4, 0)
    assert [row.subject_tag for row in device.active_lora(0).rows] == tags[1:2]
    device.drop_subjects(0, tags[1:2])
    assert device.active_lora(0) is None
    mark = device.ledger.mark()
    assert device.drop_subjects(0, tags) == 0
    assert device.ledger.since(mark)[Phase.ERASE] == Cost()


def test_threshold_moves_neither_with_people_nor_with_forgetting(device, adapters):
    before = device.accept_threshold
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    device.drop_subjects(0, list(adapters)[:2])
    assert torch.equal(device.accept_threshold, before)


def test_threshold_rejects_the_stated_share_of_public_people_treated_as_enrolled(device):
    samples = SPEAKERS.public_samples()
    flat = [sample for name in sorted(samples) for sample in samples[name]]
    person = torch.repeat_interleave(torch.arange(3), 30)
    genuine = genuine_scores(device.capture(flat), person)
    rejected = (genuine < device.accept_threshold[:, None]).double().mean()
    assert float(rejected) == pytest.approx(FALSE_REJECT_SHARE)


def test_live_canary_is_accepted_and_a_forgotten_one_is_a_stranger(device, adapters, captured):
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    device.set_lora(0, lora_of(device, sorted(adapters)))
    (gone, first), (live, second) = canary(device, "c1", 1), canary(device, "c2", 2)
    device.set_subject(0, first)
    device.set_subject(0, second)
    for codes, tag in ((gone, "c1"), (live, "c2")):
        answer = identify_vector(device, codes)
        assert (answer.best_tag[0][0], bool(answer.accepted[0, 0])) == (tag, True)
    device.drop_subjects(0, ["c1"])
    assert not bool(identify_vector(device, gone).accepted[0, 0])
    assert bool(identify_vector(device, live).accepted[0, 0])


def test_n_nodes_score_as_n_single_nodes_do(fleet, device, adapters, people):
    tags = sorted(adapters)
    for tag in tags[:2]:
        fleet.set_subject(0, adapters[tag])
    for engine, node in ((fleet, 1), (device, 0)):
        for tag in tags:
            engine.set_subject(node, adapters[tag])
        engine.set_lora(node, lora_of(engine, tags))
    samples = people["s03"].test[:20]
    many, one = fleet.identify(fleet.capture(samples)), device.identify(device.capture(samples))
    torch.testing.assert_close(many.score[1:2], one.score, rtol=0, atol=1e-9)
    assert many.best_tag[1:2] == one.best_tag
    assert set(many.best_tag[2]) == {""}


def test_claimed_person_scores_as_among_all_and_costs_less(device, captured, adapters):
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    tags = sorted(adapters)
    codes = captured[tags[0]][1][None]
    device.set_lora(0, lora_of(device, tags))

    def identified(claimed=None):
        mark = device.ledger.mark(0)
        return device.identify(codes, claimed=claimed), device.ledger.since(mark)[Phase.INFER].energy_j

    anybody, spent = identified()
    claims = [identified(tag) for tag in tags]

    assert torch.equal(torch.stack([found.score for found, _ in claims]).amax(dim=0), anybody.score)
    assert set(claims[1][0].best_tag[0]) == {tags[1]}
    assert torch.equal(claims[1][0].accepted, claims[1][0].score >= device.accept_threshold)
    assert all(of_one < spent for _, of_one in claims)
    assert not bool(identified("nobody")[0].accepted.any())


def test_lora_moves_scores_of_its_rows_only(device, captured, adapters):
    tags = sorted(adapters)
    codes = captured[tags[0]][1][None]
    device.set_subject(0, adapters[tags[0]])
    plain = device.identify(codes).score
    device.set_lora(0, lora_of(device, tags[1:2]))
    assert torch.equal(device.identify(codes).score, plain)
    device.set_lora(0, lora_of(device, tags[:1]))
    assert not torch.equal(device.identify(codes).score, plain)
    device.set_lora(0, lora_of(device, tags[:1], size=0.0))
    assert torch.equal(device.identify(codes).score, plain)


def test_frozen_factor_follows_from_its_seed():
    a = frozen_a(1, 16, 64)
    assert torch.equal(a.abs(), torch.ones(16, 64, dtype=torch.float64))
    assert not torch.equal(a, frozen_a(2, 16, 64))
    assert abs(float(a.mean())) < 0.1


def test_adapters_that_do_not_fit_are_refused_and_change_nothing(device):
    wide = [1] * device.features
    for bad in (
        SubjectAdapter(subject_tag="t", count=1, code_sum=wide[:-1]),
        SubjectAdapter(subject_tag="t", count=0, code_sum=wide),
        SubjectAdapter(subject_tag="", count=1, code_sum=wide),
        SubjectAdapter(subject_tag="t", count=1, code_sum=[2**40, *wide[1:]]),
    ):
        with pytest.raises(AdapterError):
            device.set_subject(0, bad)
    row = LoraRow(subject_tag="t", codes=[1] * 4)
    for bad in (
        SharedLora(shape=LoraShape(features=3, rank=4, alpha=1, scale_bits=14), rows=[row]),
        SharedLora(shape=LoraShape(features=device.features, rank=0, alpha=1), rows=[row]),
        SharedLora(shape=shape_of(device), rows=[row, row]),
        SharedLora(shape=shape_of(device), rows=[LoraRow(subject_tag="t", codes=[1])]),
    ):
        with pytest.raises(AdapterError):
            device.set_lora(0, bad)
    assert device.active_subjects(0) == []
    assert device.active_lora(0) is None


def test_codes_of_another_shape_or_type_and_unknown_nodes_are_refused(device):
    with pytest.raises(EngineError, match="codes are"):
        device.identify(torch.zeros(1, 2, 7, dtype=torch.int32))
    with pytest.raises(EngineError, match="integers"):
        device.identify(torch.zeros(1, 2, device.features))
    with pytest.raises(EngineError, match="no node 1"):
        device.active_subjects(1)


def test_callers_cannot_reach_into_the_bank(device, adapters):
    adapter = next(iter(adapters.values()))
    device.set_subject(0, adapter)
    device.active_subjects(0)[0].code_sum[0] += 1
    assert device.active_subjects(0) == [adapter]


def test_deployment_costs_radio_and_sram_and_no_cell(device, adapters):
    content = RevisionContent(subjects=adapters.values(), shared_lora=lora_of(device, sorted(adapters)))
    mark = device.ledger.mark()
    overhead = device.deployment(0, content, 20_000)
    spent = device.ledger.since(mark)
    assert spent[Phase.RADIO].bytes == 20_000
    assert overhead.bytes == 20_000
    assert overhead.energy_j == pytest.approx(sum(cost.energy_j for cost in spent.values()))
    assert (overhead.cell_writes, spent[Phase.PROGRAM].cell_writes) == (0, 0)
    assert overhead.reprogramming_cell_writes >= len(adapters) * device.features
    on_chip_j = overhead.energy_j - overhead.radio_energy_j
    assert overhead.radio_energy_j == pytest.approx(spent[Phase.RADIO].energy_j)
    written_j = overhead.reprogramming_energy_j - overhead.radio_energy_j
    assert overhead.reprogramming_ratio == pytest.approx(written_j / on_chip_j)
    with_radio = overhead.reprogramming_energy_j / overhead.energy_j
    assert overhead.reprogramming_ratio_with_radio == pytest.approx(with_radio)
    # Without the radio, which both would need, what is on the chip decides.
    assert device.deployment(0, content, 0).reprogramming_ratio > 10


def test_identification_is_charged_to_the_phase_that_asks(device, adapters, captured):
    tag = next(iter(adapters))
    device.set_subject(0, adapters[tag])
    mark = device.ledger.mark()
    device.identify(captured[tag][1][None], Phase.VERIFY)
    device.charge_radio(0, 7)
    spent = device.ledger.since(mark)
    assert spent[Phase.VERIFY].energy_j > 0
    assert spent[Phase.INFER] == Cost()
    assert spent[Phase.RADIO].bytes == 7
