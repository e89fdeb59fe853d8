"""Evidence of a demo on which every claim holds, for tests that spoil one part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import signing
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.lab.demo.evidence import ChipRates, Evidence, Learnt, Outage, ProbeAnswer
from fleet.lab.demo.recognition import Quality
from fleet.learning.flower_command import RunInfo
from fleet.trust.checks import CheckLine

NODES = ("node-1", "node-2")
KEYS = {node: Ed25519PrivateKey.generate() for node in NODES}
TAG = "ab" * 16
EXACT = dict.fromkeys(("subject-adapter", "closed-form-head", "cohort-lora"), operator.VERDICT_CLASS_EXACT)


def receipt(node: str, key: Ed25519PrivateKey | None = None, **fields: object) -> types.Envelope:
    values = {
        "node_id": node,
        "campaign_id": "campaign-1",
        "generation": 1,
        "code_samples_erased": 15,
        "keys_destroyed": 2,
        **fields,
    }
    return signing.sign(key or KEYS[node], types.Receipt(**values))


def executions(**receipts: types.Envelope) -> list[operator.Execution]:
    return [
        operator.Execution(node_id=node, state="verified", receipt=receipts.get(node.replace("-", "_"), receipt(node)))
        for node in NODES
    ]


def forget(verdicts: Mapping[str, operator.VerdictClass] = EXACT, **fields: object) -> operator.Forget:
    values = {
        "campaign_id": "campaign-1",
        "generation": 1,
        "state": "converged",
        "seconds_to_suppress": 0.2,
        "seconds_to_verify": 40.0,
        "repair_job_id": "job-2",
        "verdicts": [operator.Verdict(adapter_kind=kind, verdict=verdict) for kind, verdict in verdicts.items()],
        **fields,
    }
    return operator.Forget(**values)


def status(**fields: object) -> GetStatusResponse:
    values = {
        "serve_state": types.SERVE_STATE_SERVING,
        "generation": 1,
        "revision": 9,
        "revision_digest": b"digest",
        "reram_writes": 1000,
        "costs": [types.PhaseCost(phase=types.ENERGY_PHASE_PROGRAM, energy_j=4e-4, cell_writes=1000)],
        "energy_model": types.EnergyModel(name="180nm-1t1r", version="1"),
        "overhead": types.DeploymentOverhead(
            energy_j=1e-3,
            bytes=100,
            reprogramming_ratio=20.0,
            reprogramming_ratio_with_radio=1.5,
            reprogramming_energy_j=1.5e-3,
            reprogramming_cell_writes=500,
        ),
        **fields,
    }
    return GetStatusResponse(**values)


def job(number: int, kind: types.LearningKind, **fields: object) -> operator.LearningJob:
    values = {"state": "succeeded", "rounds": 3, "rounds_done": 3, "flower_run_id": 100 + number, **fields}
    return operator.LearningJob(job_id=f"job-{number}", kind=kind, **values)


GOOD = Quality(
    retain_accuracy=0.98,
    retain_accuracy_subject_only=0.97,
    forget_accuracy=1.0,
    forget_accuracy_subject_only=1.0,
    retain_accuracy_without_head=0.975,
    forget_accuracy_without_head=1.0,
    genuine_accept_rate=0.98,
    forget_accept_rate=1.0,
    stranger_accept_rate=0.03,
    newcomer_accuracy=0.0,
    forget_samples=200,
    stranger_samples=400,
    backbone_only=False,
)
GONE = replace(
    GOOD,
    forget_accuracy=0.0,
    forget_accuracy_subject_only=0.0,
    forget_accuracy_without_head=0.0,
    forget_accept_rate=0.03,
)
BLIND = ProbeAnswer(1.0, backbone_only=True, reason="starting", generation=0, named=0, named_forgotten=0)
BACK = ProbeAnswer(3.0, backbone_only=False, reason=None, generation=1, named=8, named_forgotten=0)
OUTAGE = Outage(
    node_id="node-2",
    killed_pid=42,
    suppressed_by=frozenset({"node-1"}),
    leaked_meanwhile=0,
    seconds_observed=0.3,
    probe_answers=(BLIND, BLIND, BACK),
)
TRAIN = job(1, types.LEARNING_KIND_TRAIN_COHORT)
REPLAY = job(2, types.LEARNING_KIND_REPLAY_COHORT)
EVIDENCE = Evidence(
    fleet_id="fleet-test",
    forgotten_person="s05",
    forgotten_tag=TAG,
    enrolled_on={"s05": NODES},
    identities={
        node: types.NodeIdentity(node_id=node, receipt_public_key=key.public_key().public_bytes_raw())
        for node, key in KEYS.items()
    },
    programmed={node: status(generation=0) for node in NODES},
    never=dict.fromkeys(NODES, replace(GONE, forget_accept_rate=0.02)),
    before=dict.fromkeys(NODES, GOOD),
    status_before={node: status(generation=0) for node in NODES},
    after=dict.fromkeys(NODES, GONE),
    status_after={node: status() for node in NODES},
    welcomed=dict.fromkeys(NODES, replace(GONE, newcomer_accuracy=1.0)),
    learnt=Learnt((TRAIN,)),
    learnt_again=Learnt((TRAIN,)),
    jobs=(TRAIN, REPLAY),
    flower_runs=tuple(RunInfo(run, "finished:completed", "") for run in (101, 102)),
    outage=OUTAGE,
    forget=forget(),
    executions=executions(),
    certificate=(CheckLine("certificate", True, "signed by abc", "signed by abc"),),
    metrics_moved={"coordinator": (0.0, 1.0), "node-1": (0.0, 1.0)},
    step_seconds={"start": 10.0},
    chips=(
        ChipRates("speakers", "worn", None, 0.995, 0.99, 9.4),
        ChipRates("speakers-4", "as new", 0.92, 0.98, 0.99, 8.5),
    ),
)
