"""Board of forgets: waves over nodes, how long they take, what they cost, and what receipts say."""

from __future__ import annotations

from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit


def _duration(what: str, description: str) -> Panel:
    family = f"fleet_forget_{what}_duration_seconds"
    return Panel(
        f"Time to {what}",
        description,
        Unit.SECONDS,
        [
            Query(f"fleet:forget_{what}_duration_seconds:p50_1h", "half of the nodes"),
            Query(f"fleet:forget_{what}_duration_seconds:p99_1h", "99 % of the nodes"),
            Query(
                f"max(increase({family}_sum[1h])) / (max(increase({family}_count[1h])) > 0)",
                "mean",
            ),
        ],
        log=True,
    )


FORGET = Board(
    "reram-forget",
    "Forgets",
    "How forgets go over the fleet. People, tags and campaigns are not in metrics: `fleet forget list` has those.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Open forgets",
                    "Forgets that have not converged; nodes out of contact keep them open.",
                    Unit.COUNT,
                    [Query('sum(max by (state) (fleet_forgets{state!="converged"}))', "open")],
                    Form.STAT,
                    alerts=["ForgetOverdue"],
                ),
                Panel(
                    "Oldest open forget",
                    "It is overdue after 30 days.",
                    Unit.SECONDS,
                    [Query("max(fleet_forget_oldest_unverified_age_seconds)", "oldest")],
                    Form.STAT,
                    alerts=["ForgetOverdue"],
                ),
                Panel(
                    "Overdue forgets",
                    "Open for more than 30 days; 0 is normal.",
                    Unit.COUNT,
                    [Query("max(fleet_forget_overdue)", "overdue")],
                    Form.STAT,
                    alerts=["ForgetOverdue"],
                ),
                Panel(
                    "ReRAM cells written by forgets",
                    "Always 0: a forget changes SRAM and destroys keys.",
                    Unit.COUNT,
                    [Query("sum(max by (phase) (fleet_forget_reram_cell_writes_total))", "cells")],
                    Form.STAT,
                    alerts=["ReRAMWritten"],
                ),
            ),
        ),
        Row(
            "Progress",
            (
                Panel(
                    "Waves: forgets on nodes, by state",
                    "Each forget on each node. Pending ones become suppressed at once on connected nodes; erasing "
                    "goes in waves, a canary node first, until all are verified or not affected.",
                    Unit.COUNT,
                    [Query("max by (state) (fleet_forget_executions)", "{{state}}")],
                    Form.STACK,
                    alerts=["ForgetOverdue"],
                ),
                Panel(
                    "Forgets by state",
                    "Converged ones are done on every node, or name those that are not.",
                    Unit.COUNT,
                    [Query("max by (state) (fleet_forgets)", "{{state}}")],
                    Form.STACK,
                ),
                _duration(
                    "suppress",
                    "From the commit until a node answers for the person no more, over the last hour. Nothing is drawn "
                    "for an hour without forgets; nodes that were out of contact take as long as they were.",
                ),
                _duration(
                    "verify",
                    "From the commit until a node's receipt is accepted, over the last hour. The waves are in it.",
                ),
            ),
        ),
        Row(
            "Cost and proof",
            (
                Panel(
                    "Energy of forgets",
                    "Energy of the last hour's forgets by phase, as accepted receipts say; by the energy model.",
                    Unit.JOULES,
                    [Query("max by (phase) (increase(fleet_forget_energy_joules_total[1h]))", "{{phase}}")],
                    Form.STACK,
                ),
                Panel(
                    "Receipts by verdict",
                    "Receipts of the last hour. Held and unsolicited ones contradict what the coordinator knows.",
                    Unit.COUNT,
                    [Query("verdict:fleet_receipts:increase1h", "{{verdict}}")],
                    Form.STACK,
                    alerts=["ReceiptInvalid"],
                ),
                Panel(
                    "Receipts that do not hold",
                    "Share of the last hour's receipts that are held or unsolicited; 0 is normal.",
                    Unit.SHARE,
                    [Query("fleet:receipts_invalid:ratio_1h", "do not hold")],
                    alerts=["ReceiptInvalid"],
                ),
                Panel(
                    "Reports refused",
                    "Reports of nodes in the last hour that were not acted upon: rejected ones end the stream.",
                    Unit.COUNT,
                    [Query("max by (kind) (increase(fleet_refused_reports_total[1h]))", "{{kind}}")],
                    Form.STACK,
                    alerts=["ReportsRefused"],
                ),
            ),
        ),
    ),
)
