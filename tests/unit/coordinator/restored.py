"""What tests of a restored coordinator do with it and its nodes."""

from __future__ import annotations

from fleet.trust.audit import verify_certificate
from fleet.trust.checks import failures


def forget(coordinator, nodes, tag):
    campaign, _ = coordinator.forget(f"forget {tag}", tag)
    coordinator.converse(*nodes)
    return campaign


def settle(coordinator, *nodes):
    """Let nodes say where they are, and then ask for leases."""
    coordinator.converse(*nodes)
    coordinator.converse(*nodes)


def awaited(coordinator):
    with coordinator.transaction() as unit:
        return list(unit.tx.fleet.awaited())


def certified(coordinator, campaign):
    """Whether every line of a forget's certificate holds."""
    certificate = coordinator.certificate(campaign.campaign_id)
    return not failures(verify_certificate(certificate, coordinator.coordinator.env.keys.command_public_key))


def accept(coordinator):
    with coordinator.transaction() as unit:
        return unit.decisions.accept_restore("the device is in a drawer")


def log_of(coordinator):
    with coordinator.transaction() as unit:
        return [entry.envelope for entry in unit.tx.log.range(0)]
