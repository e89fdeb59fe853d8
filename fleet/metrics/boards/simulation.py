"""Board of simulated runs that are scraped: `fleet sim run --metrics-port`."""

from __future__ import annotations

from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit

_RUN = "{{scenario}}, seed {{seed}}"


def _of(metric: str, *labels: str) -> str:
    return f"max by ({', '.join(('scenario', 'seed', *labels))}) ({metric})"


SIMULATION = Board(
    "reram-simulation",
    "Simulated runs",
    "Runs of `fleet sim` that are going on. Time on the axis is the wall's: how far each run is stands in the first "
    "row. Nothing here is of a fleet that is deployed.",
    (
        Row(
            "Progress",
            (
                Panel(
                    "Virtual time",
                    "How far each run is. Its slope is how much faster than the wall's time goes by.",
                    Unit.SECONDS,
                    [Query(_of("fleet_sim_virtual_time_seconds"), _RUN)],
                ),
                Panel(
                    "Nodes",
                    "Nodes that are in the fleet.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_nodes"), _RUN)],
                    Form.STAT,
                ),
                Panel(
                    "People",
                    "People who are enrolled.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_people"), _RUN)],
                    Form.STAT,
                ),
            ),
        ),
        Row(
            "Nodes and forgets",
            (
                Panel(
                    "Nodes by state",
                    "Who is connected and serves; who is behind the log, or held. A node may count in several.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_nodes_by_state", "state"), "{{state}}, " + _RUN)],
                ),
                Panel(
                    "Open forgets",
                    "Forgets that have not converged. They must not pile up.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_forgets_open"), _RUN)],
                ),
                Panel(
                    "Forgets by state",
                    "All forgets of the run so far.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_forgets", "state"), "{{state}}, " + _RUN)],
                ),
                Panel(
                    "Answers",
                    "Shares of samples at the last look: of enrolled people who are recognised, and of strangers and "
                    "forgotten people who are accepted. The last two should be alike.",
                    Unit.SHARE,
                    [Query(_of("fleet_sim_answers_ratio", "asked", "answer"), "{{asked}} {{answer}}, " + _RUN)],
                ),
            ),
        ),
        Row(
            "Cost",
            (
                Panel(
                    "Energy by phase",
                    "Energy of all nodes since they were made, by the energy model.",
                    Unit.JOULES,
                    [Query(_of("fleet_sim_energy_joules_total", "phase"), "{{phase}}, " + _RUN)],
                    log=True,
                ),
                Panel(
                    "Changes, beside re-programming",
                    "Energy that changes took the chips, without the radio, and that re-programming them would have.",
                    Unit.JOULES,
                    [
                        Query(_of("fleet_sim_deployment_overhead_joules"), "as made, " + _RUN),
                        Query(_of("fleet_sim_reprogramming_joules"), "re-programmed, " + _RUN),
                    ],
                    log=True,
                ),
                Panel(
                    "Wear",
                    "Share of its endurance that the most worn chip has used; flat, unless cells are written.",
                    Unit.SHARE,
                    [Query(_of("fleet_sim_wear_ratio_max"), _RUN)],
                ),
                Panel(
                    "Cell writes",
                    "ReRAM cells written on all nodes; a forget writes none.",
                    Unit.COUNT,
                    [Query(_of("fleet_sim_reram_cell_writes_total"), _RUN)],
                ),
                Panel(
                    "Messages",
                    "Messages between coordinator and nodes, heartbeats among them.",
                    Unit.COUNT,
                    [
                        Query(_of("fleet_sim_messages_total"), "messages, " + _RUN),
                        Query(_of("fleet_sim_heartbeats_total"), "heartbeats, " + _RUN),
                    ],
                ),
                Panel(
                    "Traffic",
                    "Bytes between coordinator and nodes.",
                    Unit.BYTES,
                    [Query(_of("fleet_sim_moved_bytes_total"), _RUN)],
                ),
            ),
        ),
    ),
)
