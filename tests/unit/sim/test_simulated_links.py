from random import Random

import pytest
from reram_fleet.v1.node_pb2 import Challenge, ConnectRequest, ConnectResponse, Heartbeat

from fleet.sim.links import UNNOTICED_S, Stream, Traffic
from fleet.sim.scenario import Link
from fleet.sim.scheduler import Scheduler


class Carried:
    """A stream, and what arrived on it when."""

    def __init__(self, seed=1, **link):
        self.scheduler, self.traffic = Scheduler(), Traffic()
        self.down, self.up, self.cut_at = [], [], []
        self.stream = Stream(
            "node-1",
            self.scheduler,
            Link(**{"latency": (0.1, 0.3), **link}),
            Random(seed),
            self.traffic,
            to_node=lambda _, message: self.down.append((self.scheduler.now_s, message.challenge.nonce[0])),
            to_coordinator=lambda _, message: self.up.append(message.heartbeat.generation),
            on_cut=lambda _: self.cut_at.append(self.scheduler.now_s),
        )

    def send(self, count):
        self.stream.send(ConnectResponse(challenge=Challenge(nonce=bytes([number]))) for number in range(count))

    @property
    def numbers(self):
        return [number for _, number in self.down]


def test_messages_arrive_in_order_each_after_its_latency():
    carried = Carried()
    carried.send(50)
    carried.stream.say([ConnectRequest(heartbeat=Heartbeat(generation=7))])
    carried.scheduler.run_until(1.0)
    assert carried.numbers == list(range(50))
    assert carried.up == [7]
    assert all(0.1 <= at_s <= 0.3 for at_s, _ in carried.down)
    assert carried.traffic.messages == 51


def test_a_lost_message_takes_the_stream_with_it_and_both_sides_notice_later():
    carried = Carried(loss=1.0)
    carried.send(3)
    carried.scheduler.run_until(UNNOTICED_S - 1)
    assert (carried.numbers, carried.cut_at) == ([], [])
    carried.scheduler.run_until(UNNOTICED_S + 1)
    assert carried.cut_at == [UNNOTICED_S]
    # What is sent on a stream that is cut was never sent.
    assert (carried.traffic.messages, carried.traffic.lost) == (1, 1)


def test_what_is_under_way_when_a_stream_is_cut_does_not_arrive():
    carried = Carried()
    carried.send(3)
    carried.stream.break_off(0.0)
    carried.scheduler.run_until(1.0)
    assert carried.numbers == []
    assert carried.cut_at == [0.0]


@pytest.mark.parametrize(("link", "count"), [({"duplicate": 1.0}, 40), ({"reorder": 1.0}, 20)])
def test_messages_are_sent_twice_or_overtaken(link, count):
    carried = Carried(**link)
    carried.send(20)
    carried.scheduler.run_until(2.0)
    assert len(carried.down) == count
    assert set(carried.numbers) == set(range(20))
    assert (carried.numbers == sorted(carried.numbers)) == ("duplicate" in link)


def test_one_link_does_not_shift_what_happens_on_another():
    alone, beside = Carried(seed=5), Carried(seed=5)
    other = Carried(seed=6, loss=0.5)
    alone.send(5)
    other.send(9)
    beside.send(5)
    for carried in (alone, other, beside):
        carried.scheduler.run_until(1.0)
    assert alone.down == beside.down
