"""The closed-form head on a node: exact scores, masking at once, and newcomers beside it."""

import numpy as np
import pytest
import torch
from reram_fleet.crypto.digests import head_digest
from reram_fleet.v1.types_pb2 import ClosedFormHead

from edge_node.errors import AdapterError
from edge_node.recognition.head import MAX_CODE, MAX_COLUMN_NORM, HeadAdapter
from edge_node.recognition.head_share import packed_statistics
from edge_node.tasks.speakers import SPEAKERS
from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.public import PublicCodes
from tests.bench.workloads.head_answers import HeadAnswer

FEATURES, TAGS = 96, ("ada", "bob", "cyd")


def columns(seed=3, largest=1 << 20):
    return np.random.default_rng(seed).integers(-largest, largest + 1, (FEATURES, len(TAGS))).astype(np.int32)


def asked(nodes=2, samples=5, largest=700, seed=4):
    shape = (nodes, samples, FEATURES)
    return torch.from_numpy(np.random.default_rng(seed).integers(-largest, largest + 1, shape).astype(np.int32))


def loaded(codes=None, tags=TAGS, threshold=1000):
    return HeadAdapter.load(tags, columns() if codes is None else codes, 24, threshold, features=FEATURES)


def exact(x, w):
    """The product in Python's integers."""
    return (x.numpy().astype(object) @ w.astype(object)).tolist()


def test_scores_are_the_integers():
    assert loaded().scores(asked()).tolist() == exact(asked(), columns())


def test_scores_are_exact_for_the_largest_column_and_codes_that_are_taken():
    # Odd numbers near the bound: float64 would round them if a partial sum passed 2^53.
    w = np.full((FEATURES, 1), MAX_COLUMN_NORM // FEATURES, dtype=np.int64)
    w = np.minimum(w - 1 + w % 2, 2**31 - 1).astype(np.int32)
    x = torch.full((1, 1, FEATURES), MAX_CODE, dtype=torch.int32)
    x[0, 0, ::7] -= 1

    assert loaded(w, ("ada",)).scores(x).tolist() == exact(x, w)


def test_a_column_whose_scores_could_round_is_refused():
    wide = 1024
    w = np.full((wide, 1), MAX_COLUMN_NORM // wide, np.int32)
    HeadAdapter.load(("ada",), w, 24, 1, features=wide)
    w[0] += 1

    with pytest.raises(AdapterError, match="would not be exact"):
        HeadAdapter.load(("ada",), w, 24, 1, features=wide)


def test_nodes_and_samples_score_alone_as_in_a_batch():
    head, x = loaded(), asked(nodes=3, samples=7)

    together = head.scores(x)

    for node in range(3):
        for sample in range(7):
            assert torch.equal(head.scores(x[node : node + 1, sample : sample + 1])[0, 0], together[node, sample])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codes": columns()[:-1]}, "another task or backbone"),
        ({"codes": columns().astype(np.int64)}, "int64"),
        ({"tags": TAGS[:2]}, "for 2 people"),
        ({"tags": ("bob", "ada", "cyd")}, "sorted"),
        ({"tags": ("ada", "ada", "bob")}, "sorted"),
        ({"tags": ("", "ada", "bob")}, "none empty"),
        ({"scale_bits": 0}, "scale is 1 to 36"),
        ({"scale_bits": 37}, "scale is 1 to 36"),
        ({"threshold": 0}, "threshold 1 to"),
        ({"threshold": 1 << 53}, "threshold 1 to"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    arguments = {"tags": TAGS, "codes": columns(), "scale_bits": 24, "threshold": 1} | change

    with pytest.raises(AdapterError, match=said):
        HeadAdapter.load(**arguments, features=FEATURES)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (asked()[0], "integers \\[N, B, 96\\]"),
        (asked()[:, :, :-1], "integers \\[N, B, 96\\]"),
        (asked().double(), "float64"),
        (torch.full((1, 1, FEATURES), -MAX_CODE - 1, dtype=torch.int32), "beyond 65535"),
    ],
)
def test_codes_that_cannot_be_scored_exactly_are_refused(codes, said):
    with pytest.raises(AdapterError, match=said):
        loaded().scores(codes)


def test_a_head_keeps_nothing_of_the_array_that_it_was_loaded_from():
    w = columns()
    head = loaded(w)
    w[:] = 0

    assert head.scores(asked()).tolist() == exact(asked(), columns())


def test_a_forgotten_person_is_never_named_and_the_others_score_as_before():
    head, x = loaded(), asked(samples=40)
    assert any("bob" in row for row in HeadAnswer.of(head, x).best_tag)

    masked = head.without(["bob", "nobody"])

    assert masked.tags == ("ada", "cyd")
    assert torch.equal(masked.scores(x), head.scores(x)[:, :, [0, 2]])
    assert not any("bob" in row for row in HeadAnswer.of(masked, x).best_tag)
    assert masked.codes.untyped_storage().nbytes() == head.codes.untyped_storage().nbytes() * 2 // 3


def test_a_head_of_nobody_names_nobody():
    answer = HeadAnswer.of(loaded().without(TAGS), asked(nodes=2, samples=3))

    assert answer.best_tag == (("", "", ""),) * 2
    assert not answer.accepted.any()


def test_of_equal_scores_the_first_tag_is_named():
    same = np.repeat(columns()[:, :1], 3, axis=1)

    assert {tag for row in HeadAnswer.of(loaded(same), asked()).best_tag for tag in row} == {"ada"}


def test_a_sample_is_accepted_from_the_threshold_on():
    x = asked(nodes=1, samples=1)
    x = x if int(loaded().scores(x).max()) > 0 else -x
    best = int(loaded().scores(x).max())

    assert bool(HeadAnswer.of(loaded(threshold=best), x).accepted[0, 0])
    assert not bool(HeadAnswer.of(loaded(threshold=best + 1), x).accepted[0, 0])


def test_digest_is_that_of_the_head_as_it_travels():
    message = ClosedFormHead(
        subject_tags=TAGS, features=FEATURES, codes=columns().tobytes(), scale_bits=24, threshold=1000
    )

    assert loaded().digest == head_digest(message)
    assert loaded(threshold=1001).digest != head_digest(message)
    assert loaded(tags=("ada", "bob", "dan")).digest != head_digest(message)


def test_newcomers_are_known_next_to_the_head():
    head = HeadAnswer((("ada", "bob", "cyd"),), torch.tensor([[1.4, 0.4, 0.9]], dtype=torch.float64))
    score = torch.tensor([[0.3, 0.6, 0.36]], dtype=torch.float64)
    newcomer = HeadAnswer.of_scores((("eve", "eve", "eve"),), score, torch.tensor([0.4], dtype=torch.float64))

    both = head.or_better(newcomer)

    assert both.best_tag == (("ada", "eve", "cyd"),)
    assert both.accepted.tolist() == [[True, True, False]]


def test_answers_that_do_not_compare_are_refused():
    one = HeadAnswer((("ada",),), torch.ones(1, 1, dtype=torch.float64))
    two = HeadAnswer((("ada", "ada"),), torch.ones(1, 2, dtype=torch.float64))

    with pytest.raises(AdapterError, match="do not compare"):
        one.or_better(two)
    with pytest.raises(AdapterError, match="above 0"):
        HeadAnswer.of_scores((("ada",),), torch.ones(1, 1), torch.zeros(1))


def test_head_of_real_speakers_names_them_on_a_chip(device, people, captured):
    public = [device.capture(people[name].train)[0].numpy() for name in SPEAKERS.split.public]
    person = np.repeat(np.arange(len(public)), [len(codes) for codes in public])
    packed = [(tag, packed_statistics(codes)) for tag, (codes, _) in captured.items()]
    solved = SufficientStatistics.of_packed(PublicCodes(np.concatenate(public)[None], person), packed).build()

    head = HeadAdapter.load(solved.tags, solved.codes, solved.scale_bits, solved.threshold, features=device.features)

    hits, accepted = [], []
    for tag, (_, test) in captured.items():
        answer = HeadAnswer.of(head, test[None])
        hits += [best == tag for best in answer.best_tag[0]]
        accepted += answer.accepted[0].tolist()
    strangers = [sample for name in SPEAKERS.split.strangers for sample in people[name].test]
    unknown = HeadAnswer.of(head, device.capture(strangers)).accepted
    assert np.mean(hits) > 0.97
    assert np.mean(accepted) > 0.85
    assert unknown.double().mean() < np.mean(accepted) - 0.3
