"""Names of the key files that the coordinator's secrets are kept under, one per owner, and what they seal."""

from __future__ import annotations


def subject_key_id(tag: str) -> str:
    """Return the name of a person's key file."""
    return f"subject-{tag}"


def job_key_id(job_id: str) -> str:
    """Return the name of a learning job's key file."""
    return f"job-{job_id}"


# Purposes of what lies in the store. They name the row: moved to another one, a ciphertext does not open.


def contribution_at_rest(tag: str, node_id: str, sequence: int) -> str:
    """Return the purpose under which a node's sum of a person is sealed with the person's key."""
    return f"{subject_key_id(tag)}/{node_id}/{sequence}"


def statistics_at_rest(tag: str, node_id: str, sequence: int) -> str:
    """Return the same of the statistics for the head."""
    return f"{contribution_at_rest(tag, node_id, sequence)}/statistics"
