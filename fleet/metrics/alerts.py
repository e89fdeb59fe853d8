"""Alert rules: what somebody is told of, and what they do first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.metrics.definitions import Alert, Severity

#: Mean power of a node over an hour, W, beyond which somebody should look. By the model of a speakers node (180 nm) one
#: that waits spends some ten microwatts, and one that identifies ten samples a second two milliwatts.
NODE_BUDGET_W = 0.05
#: Share of a chip's endurance that must be left.
LEAST_ENDURANCE = 0.1
#: Silence after which a node is stale: two days before forgets stop waiting for it.
STALE_S = 5 * 86400
#: A pass of the reconcile loop takes about a second; `/healthz` fails after the same time.
STANDSTILL_S = 60
#: Jobs of `deploy/prometheus/prometheus.yml`.
COORDINATOR = 'job="fleet-coordinator"'

_PAGE, _TICKET = Severity.PAGE, Severity.TICKET

#: Alerts by group.
ALERTS: Mapping[str, Sequence[Alert]] = {
    "fleet-forget-alerts": [
        Alert(
            "NodeServingBehindGeneration",
            "(node:fleet_generation_lag:max > 0) and on (node) (max by (node) (fleet_node_serving) == 1)",
            _PAGE,
            "Node {{ $labels.node }} serves though it lacks {{ $value }} entries of the forget log.",
            "It may answer for somebody who was forgotten. Cut it off first: `fleet node retire {{ $labels.node }}`, "
            "or stop its daemon. Then look at `fleet node show {{ $labels.node }}`.",
            lasting="1m",
        ),
        Alert(
            "NodeMayServeForgotten",
            "max(fleet_nodes_behind_leased) > 0",
            _TICKET,
            "{{ $value }} nodes lack forgets and hold leases.",
            "Out of contact, they may answer for somebody who was forgotten until their leases end. `fleet node list` "
            "says until when; a device that is lost for good is retired.",
            lasting="15m",
        ),
        Alert(
            "ForgetOverdue",
            "max(fleet_forget_overdue) > 0",
            _PAGE,
            "{{ $value }} forgets have been open for more than 30 days.",
            "A person's erasure is late (GDPR, Article 12(3)). `fleet forget list` and `fleet forget show` name the "
            "nodes that it waits for: release, retry or retire them.",
        ),
        Alert(
            "ReceiptInvalid",
            'sum(max by (verdict) (increase(fleet_receipts_total{verdict=~"held|unsolicited"}[15m]))) > 0',
            _PAGE,
            "Receipts of nodes contradict what the coordinator knows.",
            "A node says that it erased what it did not, or answers what was not asked: defect or lie. "
            "`fleet node list` shows who is held, `fleet node show` which line failed. Do not release before it is "
            "understood.",
        ),
        Alert(
            "ReRAMWritten",
            "sum(max by (phase) (increase(fleet_forget_reram_cell_writes_total[1h]))) > 0",
            _PAGE,
            "Forgets have written {{ $value | humanize }} ReRAM cells.",
            "A forget writes none. Nodes run software that is not ours, or the backbone was programmed with people in "
            "it: stop roll-outs, and compare `fleet forget show` with the software version in `fleet node show`.",
        ),
        Alert(
            "LogInconsistent",
            "max(fleet_log_tree_size) < max(max_over_time(fleet_log_tree_size[1h])) "
            "or max(fleet_forget_generation) < max(max_over_time(fleet_forget_generation[1h]))",
            _PAGE,
            "The log has shrunk to {{ $value }}.",
            "Entries are gone: the database was put back, or changed by hand. Unless somebody has just run "
            "`fleet admin restore`, stop the coordinator, keep its folder as it is, and run `fleet doctor`.",
        ),
    ],
    "fleet-node-alerts": [
        Alert(
            "NodeHeld",
            "max by (node) (fleet_node_held) == 1",
            _TICKET,
            "Node {{ $labels.node }} is held.",
            "It gets no lease and forgets wait for it until an operator decides. `fleet node show {{ $labels.node }}` "
            "says why; then `fleet node release` or `retire`.",
            lasting="5m",
        ),
        Alert(
            "NodeStale",
            f"time() - (max by (node) (fleet_node_last_contact_timestamp_seconds) > 0) > {STALE_S}",
            _TICKET,
            "Node {{ $labels.node }} has been silent for {{ $value | humanizeDuration }}.",
            "Forgets stop waiting for it after 7 days and call it lost. Find the device, or "
            "`fleet node retire {{ $labels.node }}`.",
        ),
        Alert(
            "ReportsRefused",
            "max by (kind) (increase(fleet_refused_reports_total[15m])) > 0",
            _TICKET,
            "Reports of nodes were {{ $labels.kind }}.",
            "A node said what cannot be: old software, a copied key, or an attack. "
            "`topk(5, increase(fleet_node_refused_reports_total[1h]))` names it, `fleet node show` the report.",
        ),
        Alert(
            "EnergyBudgetExceeded",
            f"sum(max by (phase) (rate(fleet_energy_joules_total[1h]))) > {NODE_BUDGET_W} * sum(state:fleet_nodes:max)",
            _TICKET,
            "The fleet has spent {{ $value | humanize }} W over the last hour, more than its budget.",
            f"More than {1000 * NODE_BUDGET_W:g} mW for each node, by the energy model. The board *Fleet* shows which "
            "phase, and which nodes; `fleet energy report` the sums.",
        ),
        Alert(
            "EnduranceLow",
            f"min(fleet_endurance_left_ratio_min) < {LEAST_ENDURANCE}",
            _TICKET,
            "The most worn chip has {{ $value | humanizePercentage }} of its endurance left.",
            "Something writes ReRAM again and again: a forget or a new adapter never does. "
            "`bottomk(5, fleet_node_endurance_left_ratio)` names the chips; stop calibrating them and plan to replace "
            "them.",
        ),
        Alert(
            "HeadUnsolved",
            "max(fleet_head_unsolved) > 0",
            _TICKET,
            "The closed-form head could not be solved.",
            "Nodes go on without it, and recognise people less well. `fleet status` says why.",
            lasting="10m",
        ),
        Alert(
            "LearningJobFailed",
            'max(fleet_learning_jobs{state="failed"}) > min(min_over_time(fleet_learning_jobs{state="failed"}[1h]))',
            _TICKET,
            "A learning job has failed; {{ $value }} have in all.",
            "`fleet learn list` names it, `fleet learn show` the attempts and their errors. A forget whose repair "
            "failed goes on without the shared LoRA.",
        ),
    ],
    "fleet-coordinator-alerts": [
        Alert(
            "FleetCoordinatorDown",
            f"max(up{{{COORDINATOR}}}) == 0",
            _PAGE,
            "No coordinator answers.",
            "Nodes renew no leases: they stop serving adapters within one. No forget is taken. On its machine: "
            "`systemctl status fleet-coordinator`, then `fleet doctor`.",
            lasting="2m",
        ),
        Alert(
            "ReconcileStuck",
            f"min(fleet_reconcile_age_seconds) > {STANDSTILL_S}",
            _PAGE,
            "The coordinator has reconciled nothing for {{ $value | humanizeDuration }}.",
            "Forgets stand still. `/healthz` fails, so a supervisor should have started it anew; do so, and read the "
            "end of its log: a database that does not answer is the usual cause.",
            lasting="1m",
        ),
        Alert(
            "CoordinatorRestarting",
            "max(increase(fleet_coordinator_starts_total[30m])) > 2.5",
            _TICKET,
            "The coordinator has been started {{ $value | humanize }} times in 30 minutes.",
            "It ends, or two take the fleet from each other (exit code 4). `journalctl -u fleet-coordinator` has the "
            "last words of each.",
        ),
        Alert(
            "ScrapeMissing",
            'label_replace(absent(fleet_forget_generation), "page", "/metrics", "", "") '
            "or label_replace(absent(fleet_node_connected) and on () (sum(state:fleet_nodes:max) > 0), "
            '"page", "/metrics/nodes", "", "")',
            _PAGE,
            "Prometheus has nothing from {{ $labels.page }} of the coordinator.",
            "Other alerts are silent because there is nothing to look at. Look at Prometheus' page of targets: "
            "address, certificate and service discovery (`/sd`).",
            lasting="5m",
        ),
        Alert(
            "RuleEvaluationFailures",
            "max by (rule_group) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
            _TICKET,
            "Rules of {{ $labels.rule_group }} fail.",
            "Alerts of this group may be silent. Prometheus' page of rules says why: mostly the same series from two "
            "targets.",
        ),
    ],
}


def all_alerts() -> list[Alert]:
    """Return the alerts of all groups."""
    return [alert for group in ALERTS.values() for alert in group]
