"""Health of a coordinator: alive, and ready for nodes and operators."""

from __future__ import annotations

from fleet.coordinator.core import Coordinator
from fleet.errors import FleetError

#: Between two looks of the reconcile loop passes about a second; this long means that something stands still.
STANDSTILL_S = 60.0


class Health:
    """Answers of `/healthz` and `/readyz`."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        #: Whether the gRPC port takes calls.
        self.serving = False

    def sick(self) -> str:
        """Return why the process should be started anew; "" if it is well."""
        silent_s = self._coordinator.silent_s()
        if silent_s > STANDSTILL_S:
            return f"nothing has been reconciled for {silent_s:.0f} s: the event loop or the database stands still"
        return ""

    def unready(self) -> str:
        """Return why no calls should be sent here; "" if they may."""
        if not self.serving:
            return "the gRPC port does not take calls"
        try:
            self._coordinator.database.read_now(lambda tx: tx.fleet.get())
        except FleetError as error:
            return f"the database cannot be read: {error}"
        return self.sick()
