"""Metrics, attacks and verdicts on numbers that can be worked out by hand."""

import dataclasses
import json
import math

import pytest
import torch

from edge_node.errors import EngineError
from fleet.errors import InvalidInputError
from fleet.lab.verification.evidence import (
    AdapterKind,
    ApproximateEvidence,
    Canary,
    DigestPair,
    ExactEvidence,
    ModelScores,
    RepairPair,
)
from fleet.lab.verification.intervals import Rate, clopper_pearson
from fleet.lab.verification.judging import (
    Escalation,
    Verdict,
    average_gap,
    escalation,
    judge_approximate,
    judge_exact,
    repair_gap,
)
from fleet.lab.verification.metrics import (
    Answers,
    ForgetSamples,
    ModelOutputs,
    auc,
    confidence_svc,
    entropy,
    js_divergence,
    loss_attack_auc,
    model_scores,
)
from fleet.lab.verification.report import VerificationReport

NODES = 2


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Beta quantiles, as R's binom.test prints them.
    [(0, 21, 0.0, 0.1610976), (0, 150, 0.0, 0.0242926), (5, 5, 0.4781762, 1.0), (7, 20, 0.1539092, 0.5921885)],
)
def test_clopper_pearson_interval(hits, trials, low, high):
    interval = clopper_pearson(hits, trials)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_no_trial_says_nothing_and_impossible_counts_are_refused():
    assert dataclasses.astuple(clopper_pearson(0, 0)) == (0.0, 1.0)
    for hits, trials in ((3, 2), (-1, 2)):
        with pytest.raises(EngineError, match="hits"):
            clopper_pearson(hits, trials)


def test_eight_chips_that_see_five_samples_are_five_samples():
    rate = Rate(3, 40, repeats=8)

    assert rate.value == 3 / 40
    assert rate.interval.low == 0.0
    assert rate.interval.high == clopper_pearson(1, 5).high
    assert rate + Rate(37, 40, repeats=8) == Rate(40, 80, repeats=8)
    with pytest.raises(EngineError, match="do not add up"):
        rate + Rate(0, 5)
    with pytest.raises(EngineError, match="multiple of repeats"):
        Rate(0, 41, repeats=8)


def answers(*margins, accepted=None):
    """Answers of two nodes to one sample for each row of margins."""
    values = torch.tensor(margins, dtype=torch.float64).expand(NODES, -1, -1)
    best = values.max(dim=2)
    return Answers(best.indices, best.values >= 0 if accepted is None else accepted, values)


def test_person_is_named_only_where_the_best_match_is_accepted():
    known, refused = answers((0.4, -0.4), (0.3, -0.1)), answers((-0.1, -0.4), (-0.2, -0.3))

    assert known.named(0) == Rate(4, 4, NODES)
    assert refused.named(0) == Rate(0, 4, NODES)
    assert refused.right(torch.tensor([0, 0])) == Rate(4, 4, NODES)
    assert (known.anybody, refused.anybody) == (Rate(4, 4, NODES), Rate(0, 4, NODES))


def test_mask_hides_a_person_and_makes_nobody_of_them():
    masked = answers((0.4, 0.1), (-0.4, 0.3)).without(0)

    assert masked.named(0) == Rate(0, 4, NODES)
    assert masked.best.tolist() == [[-1, 1]] * NODES
    assert masked.anybody == Rate(2, 4, NODES)


def test_answers_that_do_not_fit_together_are_refused():
    good = answers((0.4, -0.4))
    with pytest.raises(EngineError, match=r"\[N, B\]"):
        dataclasses.replace(good, best=good.best[:1])


def test_loss_as_nobody_entropy_and_divergence_can_be_worked_out():
    even, sure, other = answers((0.0, 0.0)), answers((9.0, -9.0)), answers((-9.0, 9.0))

    assert even.losses.flatten().tolist() == pytest.approx([math.log(3)] * NODES)
    assert sure.losses.flatten().tolist() == pytest.approx([90.0] * NODES)
    assert entropy(even) == pytest.approx(math.log(3))
    assert entropy(sure) == pytest.approx(0.0, abs=1e-9)
    assert js_divergence(sure, sure) == 0.0
    assert js_divergence(sure, other) == pytest.approx(math.log(2))
    with pytest.raises(EngineError, match="shapes"):
        js_divergence(sure, answers((0.0, 0.0), (0.0, 0.0)))


def test_who_has_no_adapter_takes_no_share_of_an_answer():
    gone = answers((-math.inf, 0.0))

    assert gone.losses.flatten().tolist() == pytest.approx([math.log(2)] * NODES)
    assert entropy(gone) == pytest.approx(math.log(2))
    assert js_divergence(gone, gone) == 0.0


def test_samples_of_a_forget_are_the_person_s_and_everybody_else_s():
    train = [torch.full((NODES, 1 + k, 3), k) for k in range(3)]
    test = [torch.full((NODES, 2, 3), 10 + k) for k in range(3)]
    samples = ForgetSamples.of(train, test, 1)

    assert samples.forget_train.unique().tolist() == [1]
    assert samples.retain_train_labels.tolist() == [0, 2, 2, 2]
    assert samples.retain_train[0, :, 0].tolist() == [0, 2, 2, 2]
    assert samples.retain_test_labels.tolist() == [0, 0, 2, 2]

    def asked(codes):
        best = (codes[:, :, 0] % 10).long()
        return Answers(best, best > 0, torch.nn.functional.one_hot(best, 3).double())

    outputs = ModelOutputs.of(asked, samples)
    found = model_scores(outputs, Rate(2, NODES))
    assert (found.recognised_train, found.recognised_test) == (Rate(4, 4, NODES), Rate(4, 4, NODES))
    assert (found.retained_train.value, found.retained_test.value) == (1.0, 1.0)
    assert found.held == Rate(2, NODES)
    assert model_scores(outputs.masked(), Rate(0, NODES)).recognised_train.hits == 0


def test_auc_counts_ties_half():
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert auc(torch.tensor([1.0]), torch.tensor([1.0])) == 0.5
    assert auc(torch.tensor([0.0, 2.0]), torch.tensor([1.0])) == 0.5
    with pytest.raises(EngineError, match="members"):
        auc(torch.tensor([]), torch.tensor([1.0]))


def test_loss_attack_tells_what_was_trained_on_as_a_stranger_s():
    low, high = answers((-0.5, -0.5), (-0.6, -0.5)), answers((0.5, -0.5), (0.6, -0.5))

    assert loss_attack_auc(low, high) == 1.0
    assert loss_attack_auc(low, low) == 0.5
    assert loss_attack_auc(high, low) == 0.0


def test_confidence_attack_calls_the_forgotten_member_or_not():
    sure = answers(*[(0.9 + 0.01 * k, -0.5) for k in range(4)])
    unsure = answers(*[(0.01 * k, 0.0) for k in range(4)])

    assert confidence_svc(unsure, sure, unsure) == 1.0
    assert confidence_svc(sure, sure, unsure) == 0.0


NOBODY, EVERYBODY = Rate(0, 200, 8), Rate(200, 200, 8)


def scores(**changes):
    same = {
        "recognised_train": NOBODY,
        "recognised_test": NOBODY,
        "accepted": Rate(20, 400, 8),
        "retained_train": EVERYBODY,
        "retained_test": Rate(190, 200, 8),
        "attack_auc": 0.5,
        "called_non_member": 0.9,
        "forget_loss": 5.0,
        "forget_entropy": 1.0,
        "held": Rate(0, 8),
        "resurfaced": NOBODY,
    }
    return ModelScores(**(same | changes))


def evidence(pairs=1, **changes):
    original = scores(recognised_train=EVERYBODY, forget_loss=0.01)
    pair = RepairPair("person 3", 1, original, scores(**changes), scores(), 0.02)
    return ApproximateEvidence(AdapterKind.SHARED, "negative-gradient", (pair,) * pairs, 20)


def test_repair_like_the_reference_is_accepted_and_never_exact():
    judgement = judge_approximate(evidence())

    assert judgement.verdict is Verdict.ACCEPTED
    assert judgement.failed == ()
    assert judgement.escalation is Escalation.NONE
    assert next(line for line in judgement.lines if line.name == "gap over UA, RA, TA, AUC").value == 0.0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"accepted": Rate(60, 400, 8)}, "accepted as anybody"),
        ({"retained_train": Rate(190, 200, 8)}, "retained, training samples (RA)"),
        ({"retained_test": Rate(180, 200, 8)}, "retained, held-out samples (TA)"),
        ({"attack_auc": 0.57}, "loss attack, AUC"),
        ({"attack_auc": 0.43}, "loss attack, AUC"),
        ({"forget_entropy": 1.3}, "entropy on the person"),
        ({"attack_auc": 0.7}, "gap over UA, RA, TA, AUC"),
        ({"forget_loss": 2.4}, "loss on the person, share of reference"),
        ({"forget_loss": 10.1}, "loss on the person, share of reference"),
        ({"recognised_test": Rate(6, 200, 8)}, "named as the person, held-out samples"),
    ],
)
def test_single_line_beyond_its_limit_rejects_and_escalates(changes, line):
    judgement = judge_approximate(evidence(**changes))

    assert judgement.verdict is Verdict.REJECTED
    assert line in [failed.name for failed in judgement.failed]
    assert judgement.escalation is Escalation.DETACH


@pytest.mark.parametrize("what", ["recognised_train", "recognised_test", "resurfaced", "held"])
def test_person_who_is_still_there_beyond_chance_is_not_forgotten(what):
    judgement = judge_approximate(evidence(**{what: Rate(160, 200, 8)}))

    assert judgement.verdict is Verdict.NOT_FORGOTTEN
    assert judgement.escalation is Escalation.DETACH


def test_same_share_is_chance_with_few_samples_and_not_with_many():
    # One of five samples is compatible with nobody; of a hundred it is not.
    few = {"recognised_train": Rate(1, 5)}
    one = RepairPair("p", 1, scores(), scores(**few), scores(), 0.0)
    rejected = judge_approximate(ApproximateEvidence(AdapterKind.SHARED, "m", (one,), 20))
    certain = judge_approximate(ApproximateEvidence(AdapterKind.SHARED, "m", (one,) * 20, 20))

    assert rejected.verdict is Verdict.REJECTED
    assert certain.verdict is Verdict.NOT_FORGOTTEN


def test_gap_is_between_means_and_not_a_mean_of_gaps():
    up, down = scores(attack_auc=0.8), scores(attack_auc=0.2)
    assert repair_gap([up, down], [scores(), scores()]) == pytest.approx(0.0)
    assert repair_gap([up], [scores()]) == pytest.approx(0.3 / 4)


def test_published_gap_takes_each_person_for_itself_and_the_confidence_attack():
    person, reference = scores(retained_test=Rate(150, 200, 8), called_non_member=0.7), scores()

    # TA .75 against .95, MIA-efficacy .7 against .9; UA and RA are the same.
    assert average_gap(person, reference) == pytest.approx(0.4 / 4)
    up, down = (RepairPair("p", 1, scores(), scores(called_non_member=share), reference, 0.0) for share in (0.7, 1.0))
    judgement = judge_approximate(ApproximateEvidence(AdapterKind.SHARED, "m", (up, down), 20))
    line = next(line for line in judgement.lines if line.name.startswith("average gap as published"))
    assert line.value == pytest.approx((0.2 / 4 + 0.1 / 4) / 2)
    assert line.passed is None


def exact(**changes):
    same = {
        "kind": AdapterKind.HEAD,
        "digest": "ab",
        "never_enrolled": "ab",
        "recognised": NOBODY,
        "canary": Canary(EVERYBODY, NOBODY),
    }
    return ExactEvidence(**(same | changes))


def test_equal_digests_and_a_canary_that_fell_silent_are_exact():
    judgement = judge_exact(exact())
    assert (judgement.verdict, judgement.escalation) == (Verdict.EXACT, Escalation.NONE)


def test_cohort_is_exact_if_the_others_shards_and_what_follows_are_as_well():
    same = DigestPair("ef", "ef")
    judgement = judge_exact(exact(kind=AdapterKind.COHORT, unaffected=same, later=same, later_rounds=20))

    assert judgement.verdict is Verdict.EXACT
    assert [line.name for line in judgement.lines][-2:] == [
        "shards of others, as if never enrolled",
        "integers after 20 more rounds, as if never enrolled",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"never_enrolled": "cd"},
        {"recognised": Rate(1, 40, 8)},
        {"canary": Canary(EVERYBODY, Rate(1, 200, 8))},
        {"canary": Canary(NOBODY, NOBODY)},
        {"unaffected": DigestPair("ab", "cd")},
        {"unaffected": DigestPair("", "")},
        {"later": DigestPair("ab", "cd"), "later_rounds": 20},
    ],
)
def test_exact_kind_is_exact_or_not_forgotten_and_nothing_between(changes):
    judgement = judge_exact(exact(**changes))
    assert judgement.verdict is Verdict.NOT_FORGOTTEN
    assert judgement.escalation is Escalation.SOLVE_AGAIN


@pytest.mark.parametrize(("shown", "verdict"), [(8, Verdict.EXACT), (60, Verdict.NOT_FORGOTTEN)])
def test_class_that_is_generated_by_chance_is_held_against_those_who_never_knew_it(shown, verdict):
    judgement = judge_exact(exact(recognised=Rate(shown, 200), chance=Rate(10, 200), canary=None))

    assert judgement.verdict is verdict
    line = judgement.lines[1]
    assert (line.name, line.reference) == ("images that show the class", 0.05)


def test_verdict_classes_do_not_mix():
    with pytest.raises(InvalidInputError, match="never exact"):
        judge_exact(exact(kind=AdapterKind.SHARED))
    with pytest.raises(InvalidInputError, match="not judged by a reference"):
        judge_approximate(dataclasses.replace(evidence(), kind=AdapterKind.COHORT))
    with pytest.raises(InvalidInputError, match="no digests"):
        judge_exact(exact(digest=""))
    with pytest.raises(InvalidInputError, match="no repaired model"):
        judge_approximate(evidence(pairs=0))


def test_every_kind_escalates_to_a_path_of_its_own():
    bad = {kind: escalation(kind, Verdict.NOT_FORGOTTEN) for kind in AdapterKind}
    assert len(set(bad.values())) == len(AdapterKind)
    assert all(escalation(kind, Verdict.EXACT) is Escalation.NONE for kind in AdapterKind)


def report(**changes):
    return VerificationReport(
        task="made-up",
        exact=(exact(),),
        approximate=(evidence(pairs=2, **changes),),
        scores={"eer": 0.02},
        energy_j={"train": 0.5},
    )


def test_report_comes_back_from_json_as_it_was():
    document = json.loads(json.dumps(report().document()))

    assert VerificationReport.of_document(document) == report()
    assert document["holds"] is True
    assert [verdict["verdict"] for verdict in document["verdicts"]] == ["EXACT", "APPROXIMATE, accepted"]


def test_limits_loosened_in_the_file_change_no_verdict():
    document = json.loads(json.dumps(report(forget_loss=40.0).document()))
    document["limits"]["loss_high"] = 100.0
    assert VerificationReport.of_document(document).holds is False


def test_report_without_evidence_does_not_hold():
    assert not VerificationReport(task="made-up").holds


def test_cell_writes_of_a_forget_break_the_promise():
    assert not dataclasses.replace(report(), cell_writes=1).holds


def test_verdict_that_was_written_in_by_hand_is_found_out():
    document = json.loads(json.dumps(report(forget_loss=40.0).document()))
    assert VerificationReport.of_document(document).holds is False
    document["verdicts"][1]["verdict"] = "APPROXIMATE, accepted"
    with pytest.raises(InvalidInputError, match="do not follow"):
        VerificationReport.of_document(document)


def test_summary_that_was_written_in_by_hand_is_found_out():
    document = json.loads(json.dumps(report(forget_loss=40.0).document())) | {"holds": True}
    with pytest.raises(InvalidInputError, match="do not follow"):
        VerificationReport.of_document(document)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"task": 3}, "task"),
        ({"exact": [{"kind": "row"}]}, "exact"),
        ({"verdicts": None}, "the whole"),
        ({"approximate": "none"}, "approximate"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(change, match):
    document = json.loads(json.dumps(report().document())) | change
    with pytest.raises(InvalidInputError, match=match):
        VerificationReport.of_document(document)
