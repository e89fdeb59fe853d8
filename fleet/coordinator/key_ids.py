"""Names of the key files that the coordinator's secrets are kept under, one per owner."""

from __future__ import annotations


def subject_key_id(tag: str) -> str:
    """Return the name of a person's key file."""
    return f"subject-{tag}"


def job_key_id(job_id: str) -> str:
    """Return the name of a learning job's key file."""
    return f"job-{job_id}"
