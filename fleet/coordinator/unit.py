"""Unit of work with all its parts, by subject: campaigns, revisions, learning, nodes."""

from __future__ import annotations

from typing import Generic

from fleet.coordinator.at_rest import OwnedKeys
from fleet.coordinator.campaigns.campaigns import Campaigns
from fleet.coordinator.campaigns.certificates import Certificates
from fleet.coordinator.campaigns.receipts import Receipts
from fleet.coordinator.learning.cohort_jobs import CohortJobs
from fleet.coordinator.learning.cohorts import Cohorts
from fleet.coordinator.learning.jobs import Jobs
from fleet.coordinator.learning.rounds import Rounds
from fleet.coordinator.nodes.decisions import Decisions
from fleet.coordinator.nodes.heartbeats import Leases
from fleet.coordinator.nodes.outbox import Outbox
from fleet.coordinator.nodes.reports import Reports
from fleet.coordinator.pages import Pages
from fleet.coordinator.revisions.contributions import Contributions
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.views import Views
from fleet.coordinator.work import P, Work


class _Its(Generic[P]):
    """The part of a kind, of the unit that it is asked of."""

    def __init__(self, kind: type[P]) -> None:
        self._kind = kind

    def __get__(self, unit: Work, owner: type[Work]) -> P:
        return unit.part(self._kind)


class UnitOfWork(Work):
    """One transaction of the coordinator, and all that can be decided in it."""

    campaigns = _Its(Campaigns)
    receipts = _Its(Receipts)
    certificates = _Its(Certificates)

    revisions = _Its(Revisions)
    contributions = _Its(Contributions)
    heads = _Its(Heads)

    jobs = _Its(Jobs)
    rounds = _Its(Rounds)
    cohorts = _Its(Cohorts)
    cohort_jobs = _Its(CohortJobs)

    decisions = _Its(Decisions)
    reports = _Its(Reports)
    leases = _Its(Leases)
    outbox = _Its(Outbox)

    keys = _Its(OwnedKeys)
    views = _Its(Views)
    pages = _Its(Pages)
