"""A node that hears nothing of its coordinator: it cannot know what was forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reram_fleet.v1 import types_pb2 as types

from fleet.local.fleet import LocalSettings
from tests.faults.rig import Rig, eventually, paused, running_rig

LEASE_S = 2.0


@pytest.fixture(scope="module")
def short_lease(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A fleet of one node that may serve for two seconds without a word from its coordinator."""
    settings = LocalSettings(
        tmp_path_factory.mktemp("lease"), nodes=1, lease_s=LEASE_S, learning=False, restart_nodes=False
    )
    with running_rig(settings) as rig:
        rig.kept = rig.enrol(0)
        yield rig


def test_node_out_of_contact_for_longer_than_its_lease_detaches_its_adapters(short_lease: Rig) -> None:
    rig = short_lease
    eventually("the node names the person", lambda: rig.names(0, 0) == {rig.kept})
    with paused(rig.fleet.served().pid):
        # The connection stands, and nothing but the missing leases tells that something is wrong.
        answer = eventually("the lease ends", lambda: _if_backbone_only(rig))
        assert answer.quarantine_reason == types.QUARANTINE_REASON_LEASE_EXPIRED
        assert not answer.answers
        # It does not come back by itself.
        assert rig.identify(0, 0).backbone_only
    eventually("the node serves again", lambda: rig.names(0, 0) == {rig.kept})
    assert not rig.identify(0, 0).backbone_only


def _if_backbone_only(rig: Rig):
    answer = rig.identify(0, 0)
    return answer if answer.backbone_only else None
