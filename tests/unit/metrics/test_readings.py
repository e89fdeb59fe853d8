"""Time that a page of boards shows."""

from __future__ import annotations

from fleet.metrics.prometheus import Series
from fleet.metrics.readings import Span


def test_a_page_begins_where_there_are_samples_but_is_never_too_short():
    hour = Span(0.0, 3600.0)
    assert hour.first_of("up") == "min(min_over_time(timestamp(up)[3600s:20s]))"
    assert hour.since([Series({}, [3600.0], [1800.0])]) == Span(1800.0, 3600.0)
    assert hour.since([Series({}, [3600.0], [3599.0])]) == Span(3480.0, 3600.0)
    assert hour.since([]) == hour
