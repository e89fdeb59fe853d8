"""Errors of the learning plane.

LearningPlaneError
├── FlowerCommandError        the `flwr` command failed or answered something unreadable
│   ├── FlowerApiError        the SuperLink refused, with Flower's number of the refusal
│   ├── RunNotFoundError      the SuperLink does not know this run
│   └── SuperLinkUnreachableError
├── SuperLinkNotReadyError    it did not answer in time after its start
├── FleetProxyError           the proxy in front of the SuperLink could not start
├── CoordinatorError          LearningService refused or did not answer
├── StateError                a LoRA state does not open or does not fit the job
└── QuorumError               fewer nodes answered than a round needs
"""

from __future__ import annotations

from fleet.errors import FleetError


class LearningPlaneError(FleetError):
    """Base class of every error of the learning plane."""


class FlowerCommandError(LearningPlaneError):
    """The `flwr` command failed, took too long, or answered something unreadable."""


class FlowerApiError(FlowerCommandError):
    """The SuperLink refused; `code` is Flower's number of the refusal, 0 if it gave none."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class RunNotFoundError(FlowerCommandError):
    """The SuperLink does not know this run."""


class SuperLinkUnreachableError(FlowerCommandError):
    """The SuperLink does not answer: it is restarting, or its address is wrong."""


class SuperLinkNotReadyError(LearningPlaneError):
    """The SuperLink did not answer in time after its start."""


class FleetProxyError(LearningPlaneError):
    """The proxy in front of the SuperLink could not start."""


class CoordinatorError(LearningPlaneError):
    """LearningService refused a call or did not answer."""


class StateError(LearningPlaneError):
    """A LoRA state does not open, or does not fit the job."""


class QuorumError(LearningPlaneError):
    """Fewer nodes answered than a round needs."""
