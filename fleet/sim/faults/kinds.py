"""Kinds of actions in a history: what people do with a fleet, and what fails in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """Kind of an action."""

    ENROL = "enrol"
    FORGET = "forget"
    JOIN = "join"
    RETIRE = "retire"
    UPGRADE = "upgrade"
    LEARN = "learn"

    NODE_CRASH = "node-crash"
    NODE_CRASH_AT_STEP = "node-crash-at-step"
    COORDINATOR_CRASH = "coordinator-crash"
    COORDINATOR_CRASH_AT_STEP = "coordinator-crash-at-step"
    TORN_WRITE = "torn-write"
    LOST_WRITE = "lost-write"
    REORDERED_WRITE = "reordered-write"
    DISK_FULL = "disk-full"
    FSYNC_FAILS = "fsync-fails"
    NODE_BACKUP = "restored-node"
    COORDINATOR_BACKUP = "restored-coordinator"
    CLOCK_JUMP = "clock-jump"
    PARTITION = "partition"
    LOST_MESSAGES = "lost-messages"
    REPEATED_MESSAGES = "repeated-messages"
    REORDERED_MESSAGES = "reordered-messages"
    REPLAY = "replayed-messages"
    SLOW_NODE = "slow-node"
    STOPPED_NODE = "stopped-node"
    POISON = "poison"
    LIES = "lies"
    LEARNING_DIES = "learning-dies"


#: What people do; all other kinds are faults.
OPERATIONS = frozenset({Kind.ENROL, Kind.FORGET, Kind.JOIN, Kind.RETIRE, Kind.UPGRADE, Kind.LEARN})
FAULTS = tuple(kind for kind in Kind if kind not in OPERATIONS)

#: What an action of each kind does.
MEANING: Mapping[Kind, str] = {
    Kind.ENROL: "a person is enrolled on one or two nodes, on a ticket",
    Kind.FORGET: "a person is forgotten; the operator repeats the command until it is acknowledged",
    Kind.JOIN: "a node joins",
    Kind.RETIRE: "an operator retires a node",
    Kind.UPGRADE: "a node, or the coordinator, ends in order and starts again",
    Kind.LEARN: "a LoRA is learnt, of cohorts or a shared one, round by round",
    Kind.NODE_CRASH: "a node's process ends without warning and starts again",
    Kind.NODE_CRASH_AT_STEP: "the same right before, or right after, one of its next durable steps",
    Kind.COORDINATOR_CRASH: "the coordinator's process ends without warning and starts again",
    Kind.COORDINATOR_CRASH_AT_STEP: "the same right before, or right after, one of its next durable steps",
    Kind.TORN_WRITE: "power fails while a durable step is being written: a transaction, or a key file, is half there",
    Kind.LOST_WRITE: "power fails, and the disk has lost the last durable step although it said otherwise",
    Kind.REORDERED_WRITE: "power fails, and a key that was destroyed before the last write is there again",
    Kind.DISK_FULL: "nothing can be written for a while",
    Kind.FSYNC_FAILS: "some of the next writes fail when they are to become durable",
    Kind.NODE_BACKUP: "a node is restored from an older copy of all that it keeps",
    Kind.COORDINATOR_BACKUP: "the coordinator's rows are restored from a backup, beside the keys of today",
    Kind.CLOCK_JUMP: "a clock on the wall jumps by up to ten years",
    Kind.PARTITION: "some nodes are out of reach",
    Kind.LOST_MESSAGES: "a share of a node's messages is lost, each with its stream",
    Kind.REPEATED_MESSAGES: "a share of a node's messages arrives twice",
    Kind.REORDERED_MESSAGES: "a share of a node's messages is overtaken by later ones",
    Kind.REPLAY: "messages of an hour before arrive once more",
    Kind.SLOW_NODE: "a node's messages take up to a minute",
    Kind.STOPPED_NODE: "a node's process stands still, and then goes on with what has come",
    Kind.POISON: "a node contributes what it may not: without a ticket, out of range, of somebody else",
    Kind.LIES: "a node signs or says what is not so",
    Kind.LEARNING_DIES: "the run of a learning job dies after one of its rounds",
}
