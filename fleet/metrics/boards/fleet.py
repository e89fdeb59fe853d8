"""Board of the fleet: power, nodes, leases, the log, and the coordinator itself."""

from __future__ import annotations

from fleet.metrics.alerts import COORDINATOR
from fleet.metrics.definitions import Board, Form, Panel, Query, Row, Unit

FLEET = Board(
    "reram-fleet",
    "Fleet",
    "Whether all is well: power, nodes by state, leases, how far they are behind the log, and the coordinator.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Alerts that fire",
                    "Alerts of any severity; 0 is normal.",
                    Unit.COUNT,
                    [Query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing")],
                    Form.STAT,
                ),
                Panel(
                    "Fleet power",
                    "Power of all nodes over five minutes, by the energy model: nothing is measured.",
                    Unit.WATTS,
                    [Query("fleet:energy_watts:rate5m", "fleet")],
                    Form.STAT,
                    alerts=["EnergyBudgetExceeded"],
                ),
                Panel(
                    "Connected",
                    "Share of enrolled nodes with an open stream.",
                    Unit.SHARE,
                    [Query("fleet:nodes_connected:ratio", "connected")],
                    Form.STAT,
                    alerts=["NodeStale"],
                ),
                Panel(
                    "Forget log",
                    "Entries of the log, and how many the last node lacks: 0 but for a moment after a forget, or as "
                    "long as nodes are out of contact.",
                    Unit.COUNT,
                    [
                        Query("max(fleet_forget_generation)", "generation"),
                        Query("fleet:generation_lag:max", "greatest lag"),
                    ],
                    Form.STAT,
                    alerts=["NodeServingBehindGeneration", "LogInconsistent"],
                ),
            ),
        ),
        Row(
            "Nodes",
            (
                Panel(
                    "Power by phase",
                    "Power of all nodes over five minutes, by what it was spent on. Forgets show as erase and verify.",
                    Unit.WATTS,
                    [Query("phase:fleet_energy_watts:rate5m", "{{phase}}")],
                    Form.STACK,
                    alerts=["EnergyBudgetExceeded"],
                ),
                Panel(
                    "Nodes by state",
                    "Quarantined nodes answer by their backbone; lost ones are out of contact, whatever they said "
                    "last.",
                    Unit.COUNT,
                    [Query("state:fleet_nodes:max", "{{state}}")],
                    Form.STACK,
                    alerts=["NodeStale", "NodeHeld"],
                ),
                Panel(
                    "Shares of states",
                    "The same, as a share of all enrolled nodes.",
                    Unit.SHARE,
                    [Query("state:fleet_nodes:ratio", "{{state}}")],
                    Form.STACK,
                ),
                Panel(
                    "Behind the log",
                    "Nodes that have not suppressed every forget; those with a lease may still answer for somebody who "
                    "was forgotten.",
                    Unit.COUNT,
                    [
                        Query("max(fleet_nodes_behind)", "behind"),
                        Query("max(fleet_nodes_behind_leased)", "behind, with a lease"),
                        Query("fleet:generation_lag:max", "greatest lag (entries)"),
                    ],
                    alerts=["NodeServingBehindGeneration", "NodeMayServeForgotten"],
                ),
                Panel(
                    "Longest lease",
                    "After this time every node out of contact has stopped serving adapters.",
                    Unit.SECONDS,
                    [Query("max(fleet_lease_remaining_seconds_max)", "longest lease")],
                    alerts=["NodeMayServeForgotten"],
                ),
                Panel(
                    "Connected, held, retired",
                    "Held nodes wait for an operator. Streams that are opened again and again are restarts, or a bad "
                    "link.",
                    Unit.COUNT,
                    [
                        Query("max(fleet_nodes_connected)", "connected"),
                        Query("max(fleet_nodes_held)", "held"),
                        Query("max(fleet_nodes_retired)", "retired"),
                        Query("max(increase(fleet_node_streams_total[5m]))", "streams opened in 5 min"),
                    ],
                    alerts=["NodeHeld"],
                ),
                Panel(
                    "Ten nodes that spend most",
                    "Power over five minutes, by the energy model.",
                    Unit.WATTS,
                    [Query("node:fleet_node_energy_watts:topk10", "{{node}}")],
                    Form.TABLE,
                ),
            ),
        ),
        Row(
            "Coordinator",
            (
                Panel(
                    "Calls",
                    "gRPC calls that ended, by status; a node's stream counts when it is closed.",
                    Unit.RATE,
                    [
                        Query(
                            "sum by (grpc_code) (max by (grpc_service, grpc_method, grpc_code) "
                            "(rate(grpc_server_handled_total[5m])))",
                            "{{grpc_code}}",
                        )
                    ],
                    Form.STACK,
                ),
                Panel(
                    "Reconcile loop",
                    "Time since it last looked: about a second. Beyond a minute the process is stuck.",
                    Unit.SECONDS,
                    [Query("min(fleet_reconcile_age_seconds)", "since the last look")],
                    alerts=["ReconcileStuck"],
                ),
                Panel(
                    "Memory",
                    "Resident memory of the coordinator's process.",
                    Unit.BYTES,
                    [Query(f"max(process_resident_memory_bytes{{{COORDINATOR}}})", "resident")],
                ),
                Panel(
                    "CPU",
                    "Cores that the coordinator's process uses.",
                    Unit.COUNT,
                    [Query(f"max(rate(process_cpu_seconds_total{{{COORDINATOR}}}[5m]))", "cores")],
                ),
                Panel(
                    "Log and revision",
                    "Both only grow.",
                    Unit.COUNT,
                    [
                        Query("max(fleet_log_tree_size)", "leaves of the Merkle log"),
                        Query("max(fleet_coordinator_starts_total)", "starts of the coordinator"),
                    ],
                    alerts=["LogInconsistent", "CoordinatorRestarting"],
                ),
                Panel(
                    "Versions",
                    "Coordinators by version, and nodes by energy model.",
                    Unit.COUNT,
                    [
                        Query("count by (version) (max by (version) (fleet_build_info))", "coordinator {{version}}"),
                        Query("max by (name, version) (fleet_energy_model_nodes)", "nodes with {{name}} {{version}}"),
                    ],
                    Form.TABLE,
                ),
            ),
        ),
    ),
)
