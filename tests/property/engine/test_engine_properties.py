import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reram_fleet.crypto.digests import adapters_digest, subject_digests
from reram_fleet.v1.types_pb2 import SubjectAdapter

from edge_node.recognition.adapter_pool import AdapterPool
from edge_node.recognition.bank import AdapterBank


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(12)), cut=st.integers(0, 12))
def test_codes_do_not_depend_on_batch_split_or_order(pair, samples, order, cut):
    whole = pair.capture(samples)
    parts = [pair.capture([samples[i] for i in part]) for part in (order[:cut], order[cut:])]
    assert torch.equal(torch.cat(parts, dim=1), whole[:, order])


@settings(max_examples=10, deadline=None)
@given(frames=st.lists(st.integers(2, 40), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_codes_of_any_samples_stay_in_their_range(pair, frames, seed):
    rng = np.random.default_rng(seed)
    samples = [(rng.standard_normal((n, 12)) * 10 ** rng.uniform(-3, 6)).astype(np.float32) for n in frames]
    codes = pair.capture(samples)
    assert codes.dtype == torch.int32
    assert int(codes.abs().max()) <= 2 * 127 * 256


@given(steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), st.integers(1, 3)), max_size=20))
def test_history_of_a_bank_leaves_no_trace(steps):
    pool = AdapterPool()
    bank, expected = AdapterBank(2, pool), {}
    for keep, tag, count in steps:
        if keep:
            adapter = SubjectAdapter(subject_tag=tag, count=count, code_sum=[count, -count])
            bank.set_subject(adapter)
            expected[tag] = adapter
        else:
            subjects, _, _ = bank.drop([tag])
            assert subjects == (expected.pop(tag, None) is not None)
    fresh = AdapterBank(2, pool)
    for adapter in expected.values():
        fresh.set_subject(adapter)
    digests = [adapters_digest(subject_digests(b.subjects()), b"") for b in (bank, fresh)]
    assert digests[0] == digests[1]
    assert all(torch.equal(x, y) for x, y in zip(bank.sums(), fresh.sums(), strict=True))
