from fleet.sim.scheduler import EPOCH_MS, Scheduler, VirtualClock


def test_events_happen_in_order_of_time_and_then_of_asking():
    scheduler, seen = Scheduler(), []
    scheduler.at(2.0, lambda: seen.append("late"))
    scheduler.at(1.0, lambda: seen.append("first"))
    scheduler.at(1.0, lambda: seen.append("second"))
    scheduler.run_until(5.0)
    assert seen == ["first", "second", "late"]
    assert scheduler.now_s == 5.0


def test_what_is_due_later_waits():
    scheduler, seen = Scheduler(), []
    scheduler.at(3.0, lambda: seen.append(scheduler.now_s))
    scheduler.run_until(2.999)
    assert not seen
    scheduler.run_until(3.0)
    assert seen == [3.0]


def test_an_event_that_is_cancelled_does_not_happen():
    scheduler, seen = Scheduler(), []
    scheduler.after(1.0, lambda: seen.append("cancelled")).cancel()
    scheduler.run_until(2.0)
    assert not seen
    assert scheduler.happened == 0


def test_time_that_has_passed_is_now():
    scheduler, seen = Scheduler(), []
    scheduler.run_until(10.0)
    scheduler.at(1.0, lambda: seen.append(scheduler.now_s))
    scheduler.run_until(10.0)
    assert seen == [10.0]


def test_a_clock_that_is_set_does_not_move_the_time_since_boot():
    scheduler = Scheduler()
    clock = VirtualClock(scheduler)
    scheduler.run_until(60.0)
    before_s = clock.boottime_s()
    clock.wrong_ms = -10 * 365 * 86_400_000
    assert clock.boottime_s() == before_s
    assert clock.unix_ms() == EPOCH_MS + 60_000 + clock.wrong_ms


def test_a_boot_begins_a_new_time_since_boot():
    scheduler = Scheduler()
    clock = VirtualClock(scheduler)
    scheduler.run_until(60.0)
    first = clock.boot_id()
    clock.boot()
    assert clock.boot_id() != first
    assert clock.boottime_s() == 0.0
