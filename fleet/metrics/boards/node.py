"""Board of one node, as the coordinator sees it."""

from __future__ import annotations

from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit

_NODE = 'node="$node"'


def _gauge(name: str, legend: str) -> Query:
    return Query(f"max(fleet_node_{name}{{{_NODE}}})", legend)


NODE = Board(
    "reram-node",
    "Node",
    "One node: whether it serves, how long it may, what it spends, and what state its chip is in. The coordinator says "
    "so; a node that is out of contact keeps the figures that it said last.",
    (
        Row(
            "Now",
            (
                Panel(
                    "State",
                    "1 for the state that it is in.",
                    Unit.COUNT,
                    [Query(f"max by (state) (fleet_node_state{{{_NODE}}})", "{{state}}")],
                    Form.STAT,
                ),
                Panel(
                    "Silent for",
                    "Time since its last message: a heartbeat or two.",
                    Unit.SECONDS,
                    [
                        Query(
                            f"time() - (max(fleet_node_last_contact_timestamp_seconds{{{_NODE}}}) > 0)",
                            "since the last message",
                        )
                    ],
                    Form.STAT,
                    alerts=["NodeStale"],
                ),
                Panel(
                    "Entries that it lacks",
                    "Forgets that it has not suppressed.",
                    Unit.COUNT,
                    [Query(f"node:fleet_generation_lag:max{{{_NODE}}}", "lag")],
                    Form.STAT,
                    alerts=["NodeServingBehindGeneration"],
                ),
                Panel(
                    "Endurance left",
                    "Share of the cells' endurance that the chip has left.",
                    Unit.SHARE,
                    [_gauge("endurance_left_ratio", "left")],
                    Form.STAT,
                    alerts=["EnduranceLow"],
                ),
            ),
        ),
        Row(
            "Serving",
            (
                Panel(
                    "Connected, serving, held",
                    "1 if so.",
                    Unit.COUNT,
                    [_gauge("connected", "connected"), _gauge("serving", "serving"), _gauge("held", "held")],
                    alerts=["NodeHeld"],
                ),
                Panel(
                    "Lease",
                    "Time until it stops serving adapters without another lease.",
                    Unit.SECONDS,
                    [_gauge("lease_remaining_seconds", "left")],
                    alerts=["NodeMayServeForgotten"],
                ),
                Panel(
                    "Generation and revision",
                    "Prefix of the forget log that it has suppressed, and the revision that it runs.",
                    Unit.COUNT,
                    [_gauge("applied_forget_generation", "generation"), _gauge("revision", "revision")],
                ),
                Panel(
                    "People, and samples identified",
                    "People whom it knows, and samples that it identified with adapters in five minutes.",
                    Unit.COUNT,
                    [
                        _gauge("subject_adapters", "people"),
                        Query(f"max(increase(fleet_node_inferences_total{{{_NODE}}}[5m]))", "samples in 5 min"),
                    ],
                ),
                Panel(
                    "Reports refused",
                    "Its reports that were not acted upon; `fleet node show` says why.",
                    Unit.COUNT,
                    [Query(f"max(fleet_node_refused_reports_total{{{_NODE}}})", "refused")],
                    alerts=["ReportsRefused"],
                ),
            ),
        ),
        Row(
            "Energy and chip",
            (
                Panel(
                    "Power",
                    "Power over five minutes, by the energy model.",
                    Unit.WATTS,
                    [
                        Query(
                            f"max by (phase) (rate(fleet_node_energy_joules_total{{{_NODE}}}[5m]))",
                            "{{phase}}",
                        )
                    ],
                    Form.STACK,
                    alerts=["EnergyBudgetExceeded"],
                ),
                Panel(
                    "Energy since it was made",
                    "By phase; programming the backbone is most of it.",
                    Unit.JOULES,
                    [Query(f"max by (phase) (fleet_node_energy_joules_total{{{_NODE}}})", "{{phase}}")],
                    Form.TABLE,
                ),
                Panel(
                    "Deployment overhead",
                    "Energy that made its active revision active, with the radio.",
                    Unit.JOULES,
                    [_gauge("deployment_overhead_joules", "energy")],
                ),
                Panel(
                    "Deployment time",
                    "Time that made its active revision active.",
                    Unit.SECONDS,
                    [_gauge("deployment_overhead_seconds", "time")],
                ),
                Panel(
                    "Deployment bytes",
                    "Bytes that it received to make its active revision active.",
                    Unit.BYTES,
                    [_gauge("deployment_overhead_bytes", "received")],
                ),
                Panel(
                    "Re-programming over deployment",
                    "Energy of re-programming the same change into analogue weights, over that of the active revision.",
                    Unit.RATIO,
                    [Query(f"max by (scope) (fleet_node_deployment_overhead_ratio{{{_NODE}}})", "{{scope}}")],
                    log=True,
                ),
                Panel(
                    "ReRAM cells written",
                    "Since it was made, and for the active revision: none for that.",
                    Unit.COUNT,
                    [
                        Query(f"max(fleet_node_reram_cell_writes_total{{{_NODE}}})", "since it was made"),
                        _gauge("deployment_overhead_cell_writes", "for the active revision"),
                    ],
                    alerts=["ReRAMWritten", "EnduranceLow"],
                ),
            ),
        ),
    ),
    variable="node",
)
