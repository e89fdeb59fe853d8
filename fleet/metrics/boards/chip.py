"""Board of chips and energy: joules by phase beside re-programming, the paper's three ratios, wear."""

from __future__ import annotations

from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit

#: "Up to" figures of the abstract of arXiv 2601.10037.
PAPER = {"training": 147.76, "deployment": 387.95, "inference": 48.44}


def _beside_reprogramming(title: str, what: str, unit: Unit, *, overhead: str, reprogramming: str) -> Panel:
    return Panel(
        title,
        f"{what} that made the active revisions active on all nodes, beside what re-programming the same changes into "
        "analogue weights would take, by the energy model.",
        unit,
        [Query(f"max({overhead})", "adapters, with the radio"), Query(f"max({reprogramming})", "re-programming")],
        log=True,
    )


def _ratio(name: str, what: str) -> Panel:
    return Panel(
        f"Paper's ratio: {name}",
        f"{what}, for the network that the nodes run: median of the nodes; low and high are the 5th and 95th "
        f"percentile over the ranges of the model's constants. The line is what the abstract of arXiv 2601.10037 says "
        f'("up to" {PAPER[name]}); its networks, constants and baseline are not known here. A band across the line is '
        "consistent with the paper and reproduces nothing.",
        Unit.RATIO,
        [
            Query(f'max by (bound) (fleet_paper_ratio{{ratio="{name}"}})', "{{bound}}"),
            Query(f"vector({PAPER[name]})", f"paper: up to {PAPER[name]}"),
        ],
        log=True,
        band=("low", "high"),
    )


CHIP = Board(
    "reram-chip",
    "Chip and energy",
    "What the fleet spends and on what, by the energy model of the nodes: nothing is measured.",
    (
        Row(
            "Energy",
            (
                Panel(
                    "Energy by phase",
                    "Energy of all nodes since they were made.",
                    Unit.JOULES,
                    [Query("max by (phase) (fleet_energy_joules_total)", "{{phase}}")],
                    log=True,
                ),
                Panel(
                    "Time by phase",
                    "Time that the chips of all nodes were busy since they were made.",
                    Unit.SECONDS,
                    [Query("max by (phase) (fleet_busy_seconds_total)", "{{phase}}")],
                    log=True,
                ),
                Panel(
                    "Traffic by phase",
                    "Bytes that all nodes moved since they were made.",
                    Unit.BYTES,
                    [Query("max by (phase) (fleet_moved_bytes_total)", "{{phase}}")],
                    log=True,
                ),
            ),
        ),
        Row(
            "Deployment beside re-programming",
            (
                _beside_reprogramming(
                    "Energy of a deployment",
                    "Energy",
                    Unit.JOULES,
                    overhead="fleet_deployment_overhead_joules",
                    reprogramming="fleet_deployment_reprogramming_joules",
                ),
                _beside_reprogramming(
                    "Time of a deployment",
                    "Time",
                    Unit.SECONDS,
                    overhead="fleet_deployment_overhead_seconds",
                    reprogramming="fleet_deployment_reprogramming_seconds",
                ),
                _beside_reprogramming(
                    "Cells written by a deployment",
                    "ReRAM writes",
                    Unit.COUNT,
                    overhead="fleet_deployment_overhead_cell_writes",
                    reprogramming="fleet_deployment_reprogramming_cell_writes",
                ),
                Panel(
                    "Re-programming over deployment",
                    "Energy of re-programming over the overhead; chip: both without the radio.",
                    Unit.RATIO,
                    [Query("max by (scope) (fleet_deployment_overhead_ratio)", "{{scope}}")],
                    log=True,
                ),
                Panel(
                    "Shares of the overhead",
                    "Share that the radio has of it, and its own share of re-programming.",
                    Unit.SHARE,
                    [
                        Query("fleet:deployment_overhead_radio:ratio", "radio in the overhead"),
                        Query("fleet:deployment_overhead_reprogramming:ratio", "overhead over re-programming"),
                    ],
                ),
                Panel(
                    "Bytes of a deployment",
                    "Bytes that all nodes received to make their active revisions active.",
                    Unit.BYTES,
                    [Query("max(fleet_deployment_overhead_bytes)", "received")],
                ),
            ),
        ),
        Row(
            "Beside arXiv 2601.10037",
            (
                _ratio("training", "Energy of a training step that writes ReRAM in place, over one of the LoRA"),
                _ratio("deployment", "Energy of writing all weights into ReRAM, over loading the LoRA into SRAM"),
                _ratio("inference", "Energy of a result of an all-digital node, over crossbars with the LoRA"),
            ),
        ),
        Row(
            "Wear",
            (
                Panel(
                    "Endurance left",
                    "Share of its cells' endurance that the most worn chip has left.",
                    Unit.SHARE,
                    [Query("min(fleet_endurance_left_ratio_min)", "most worn chip")],
                    Form.STAT,
                    alerts=["EnduranceLow"],
                ),
                Panel(
                    "Most worn chips",
                    "Endurance left of the ten chips that have least.",
                    Unit.SHARE,
                    [Query("bottomk(10, max by (node) (fleet_node_endurance_left_ratio))", "{{node}}")],
                    Form.TABLE,
                    alerts=["EnduranceLow"],
                ),
                Panel(
                    "ReRAM cells written",
                    "By all nodes since they were made; only programming and calibration write.",
                    Unit.COUNT,
                    [Query("max by (phase) (fleet_reram_cell_writes_total)", "{{phase}}")],
                    Form.TABLE,
                    alerts=["ReRAMWritten"],
                ),
            ),
        ),
    ),
)
