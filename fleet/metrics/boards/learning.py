"""Board of learning: jobs, what came of them, and what training costs the nodes."""

from __future__ import annotations

from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit

LEARNING = Board(
    "reram-learning",
    "Learning jobs",
    "Jobs of the learning plane and the revisions that follow. `flwr ls` and `flwr log` say more of a running job.",
    (
        Row(
            "Jobs",
            (
                Panel(
                    "Jobs by state",
                    "All jobs that the fleet remembers. Queued ones wait for an attempt.",
                    Unit.COUNT,
                    [Query("max by (state) (fleet_learning_jobs)", "{{state}}")],
                    Form.STACK,
                    alerts=["LearningJobFailed"],
                ),
                Panel(
                    "Unfinished and failed",
                    "Jobs that are queued or run, and jobs that failed.",
                    Unit.COUNT,
                    [
                        Query('sum(max by (state) (fleet_learning_jobs{state=~"queued|running"}))', "unfinished"),
                        Query('max(fleet_learning_jobs{state="failed"})', "failed"),
                    ],
                    Form.STAT,
                    alerts=["LearningJobFailed"],
                ),
            ),
        ),
        Row(
            "What comes of them",
            (
                Panel(
                    "Revision",
                    "Revision that nodes are to run, and the newest that any node runs.",
                    Unit.COUNT,
                    [
                        Query("max(fleet_desired_revision)", "desired"),
                        Query("max(fleet_node_revision)", "newest that runs"),
                    ],
                ),
                Panel(
                    "People in the closed-form head",
                    "People whom the head tells apart.",
                    Unit.COUNT,
                    [Query("max(fleet_head_people)", "people")],
                ),
                Panel(
                    "Head unsolved",
                    "1 if the head could not be solved, and nodes do without.",
                    Unit.COUNT,
                    [Query("max(fleet_head_unsolved)", "unsolved")],
                    Form.STAT,
                    alerts=["HeadUnsolved"],
                ),
            ),
        ),
        Row(
            "Cost of training",
            (
                Panel(
                    "Power of training",
                    "Power that all nodes spend on training, over five minutes, by the energy model.",
                    Unit.WATTS,
                    [Query('phase:fleet_energy_watts:rate5m{phase="train"}', "train")],
                ),
                Panel(
                    "Energy of training",
                    "Energy that all nodes spent on training since they were made.",
                    Unit.JOULES,
                    [Query('max(fleet_energy_joules_total{phase="train"})', "train")],
                ),
                Panel(
                    "Time of training",
                    "Time that all nodes trained since they were made.",
                    Unit.SECONDS,
                    [Query('max(fleet_busy_seconds_total{phase="train"})', "train")],
                ),
            ),
        ),
    ),
)
