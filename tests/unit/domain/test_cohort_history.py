from fleet.domain.cohort import CohortHistory, LoggedRound, Segment, differences

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def logged(*nodes, inputs="i", rewritten=False):
    return LoggedRound(frozenset(nodes), inputs, rewritten)


def history(entries, rounds=6):
    return CohortHistory(1, entries, tuple(logged("n1", f"m{number}") for number in range(rounds)))


def test_history_is_cut_where_somebody_enters():
    found = history({A: 0, B: 2, C: 2})
    assert found.segment(0) == Segment(0, 2, (A,))
    assert found.segment(2) == Segment(2, 6, (A, B, C))


def test_replay_that_starts_between_entries_has_who_was_there():
    assert history({A: 0, B: 4}).segment(2) == Segment(2, 4, (A,))


def test_rounds_before_anybody_was_there_are_skipped():
    assert history({B: 3}).segment(0) == Segment(3, 6, (B,))


def test_nobody_left_means_nothing_to_replay():
    assert history({}).segment(0) is None


def test_checkpoint_is_needed_only_where_somebody_was_there_before():
    found = history({A: 0, B: 2, C: 4})
    assert found.checkpoint_rounds() == {2, 4}
    assert not found.has_members_before(0)
    assert history({B: 2, C: 2}).checkpoint_rounds() == set()


def test_nodes_of_some_rounds():
    assert history({A: 0}).nodes_from(1, 3) == {"n1", "m1", "m2"}


def test_round_survives_its_way_through_json():
    entry = logged("n2", "n1", rewritten=True)
    assert LoggedRound.from_json(entry.to_json()) == entry
    assert entry.to_json()["nodes"] == ["n1", "n2"]


def test_round_done_again_with_other_nodes_is_marked_and_stays_so():
    then, now = logged("n1", "n2"), logged("n1")
    assert then.replaced_by(now).rewritten
    assert not then.replaced_by(logged("n2", "n1")).rewritten
    assert then.replaced_by(now).replaced_by(logged("n1")).rewritten


def test_same_nodes_and_samples_excuse_no_difference():
    assert differences([logged("n1")], [logged("n1")]) == []


def test_each_reason_why_integers_may_differ_is_told():
    then = [logged("n1", "n2"), logged("n1"), logged("n1", inputs="")]
    now = [logged("n1"), logged("n1", inputs="j"), logged("n1", inputs="")]
    assert differences(then, now, first_round=4) == [
        "round 4: computed without n2",
        "round 5: people of the shard have had samples captured since",
        "round 6: people of the shard have had samples captured since",
    ]
