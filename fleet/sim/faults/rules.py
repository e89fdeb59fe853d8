"""Rules of the checker: each a promise of the documentation, judged over the record of a history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.domain.cohort import AuditState
from fleet.sim.faults.record import Event, Record, shown

#: Begins what is said of a certificate that a coordinator does not issue.
REFUSED = "it is refused:"
#: Kinds of actions of a node after which what it says need not be so.
_DISHONEST = frozenset({"lies", "poison"})


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept, and the event that shows it."""

    rule: str
    event: Event
    what: str

    def __str__(self) -> str:
        return f"{self.rule} at step {self.event.step}, {self.event.at_s:.1f} s {self.event.node}: {self.what}"


@dataclass(frozen=True)
class Rule:
    """A promise, and what finds where it is broken."""

    name: str
    promise: str
    find: Callable[[Record], Iterator[tuple[Event, str]]]


def check(record: Record) -> list[Violation]:
    """Return every violation, in the order of the events that show them."""
    found = [Violation(rule.name, event, what) for rule in RULES for event, what in rule.find(record)]
    return sorted(found, key=lambda violation: violation.event.step)


Found = Iterator[tuple[Event, str]]


def _leases(record: Record) -> Found:
    asked: dict[str, dict[bytes, float]] = defaultdict(dict)
    # Of each node the lease that it asked for last: when that was, until when it lasts, and for which generation.
    leases: dict[str, tuple[float, float, int]] = {}
    acked: dict[str, int] = defaultdict(int)
    held: dict[str, float] = {}
    for event in record.events:
        match event.kind:
            case "store":
                held = {node: held.get(node, event.at_s) for node in event.data["held"]}
            case "released":
                held.pop(event.node, None)
            case "start":
                asked[event.node].clear()
                leases.pop(event.node, None)
            case "went-back":
                acked[event.node] = 0
            case "asked":
                asked[event.node][event.data["nonce"]] = event.at_s
            case "suppressed":
                acked[event.node] = max(acked[event.node], event.data["generation"])
            case "lease" if (sent_s := asked[event.node].get(event.data["nonce"])) is not None:
                lease = sent_s, sent_s + event.data["max_age_s"], event.data["generation"]
                leases[event.node] = max(lease, leases.get(event.node, lease))
            case "leased":
                # Nobody hears what a real coordinator sends: it says until when the node may serve at the latest.
                leases[event.node] = (0.0, event.data["until_s"], 0)
            case "look" | "seen" if event.data["serving"] and not event.data.get("stopped"):
                generation = event.data["generation"]
                _, until_s, at = leases.get(event.node, (0.0, 0.0, 0))
                if event.at_s >= until_s or at > generation:
                    yield event, f"serves at generation {generation}; its last lease is for {at}, until {until_s:.1f} s"
                if event.at_s > held.get(event.node, event.at_s) + record.lease_s:
                    yield event, f"serves, although it is held since {held[event.node]:.1f} s"
                if generation < acked[event.node]:
                    yield event, f"serves at generation {generation}, but has reported {acked[event.node]}"


def _prefix(record: Record) -> Found:
    heads: dict[int, bytes] = {}
    for event in record.of("restored", "suppressed", "end"):
        if event.kind == "restored":
            heads.clear()
        elif event.kind == "suppressed":
            generation, head = event.data["generation"], event.data["head"]
            if generation and heads.setdefault(generation, head) != head:
                yield event, f"reports another entry of generation {generation} than others"
        else:
            for node, (numbers, head) in event.data["journals"].items():
                if numbers != tuple(range(1, len(numbers) + 1)):
                    yield event, f"the journal of {node} has the generations {shown(numbers)}"
                elif numbers and event.data["heads"].get(len(numbers)) != head:
                    yield event, f"generation {len(numbers)} of {node} is not the coordinator's"


def _once(record: Record) -> Found:
    accepted: dict[tuple[str, int], bytes] = {}
    liars: set[str] = set()
    for event in record.of("action", "restored", "went-back", "judged"):
        if event.kind == "action":
            liars |= {event.node} if event.data["action"] in _DISHONEST else set()
        elif event.kind == "restored":
            accepted.clear()
        elif event.kind == "went-back":
            accepted = {key: value for key, value in accepted.items() if key[0] != event.node}
        elif event.data["accepted"] and event.node not in liars:
            key = event.node, event.data["generation"]
            if accepted.setdefault(key, event.data["receipt"]) != event.data["receipt"]:
                yield event, f"two receipts of generation {key[1]} were accepted"


def _receipts(record: Record) -> Found:
    restored = False
    for event in record.of("restored", "end"):
        restored |= event.kind == "restored"
        for campaign, lines in event.data.get("certificates", {}).items():
            for line in lines[:3]:
                # What a backup has lost, no certificate is complete without.
                if not (restored and line.startswith(REFUSED)):
                    yield event, f"the certificate of forget {campaign} does not hold: {line}"


def _log(record: Record) -> Found:
    roots: dict[int, tuple[Event, bytes]] = {}
    for event in record.of("restored", "store", "end"):
        if event.kind == "restored":
            roots.clear()
        elif event.kind == "store":
            size, root = event.data["size"], event.data["root"]
            before = roots.setdefault(size, (event, root))
            if before[1] != root:
                yield event, f"the log of {size} leaves has two roots"
        else:
            for size, (seen, root) in roots.items():
                if size > event.data["size"]:
                    yield event, f"the log had {size} leaves at {seen.at_s:.0f} s, and has {event.data['size']}"
                elif size and event.data["roots"](size) != root:
                    yield event, f"the first {size} leaves of the log have changed since {seen.at_s:.0f} s"


def _converges(record: Record) -> Found:
    for event in record.of("end"):
        for what in event.data["open"]:
            yield event, what


def _forgotten(record: Record) -> Iterator[tuple[Event, Mapping[str, tuple[float, int]]]]:
    """Yield every event with who is forgotten by then: when that was acknowledged, and by which generation."""
    forgotten: dict[str, tuple[float, int]] = {}
    lost: dict[str, tuple[float, int]] = {}
    for event in record.events:
        if event.kind == "forgotten":
            forgotten.setdefault(event.data["tag"], (event.at_s, event.data["generation"]))
        elif event.kind == "restored":
            lost |= {tag: forgotten.pop(tag) for tag in event.data["at_risk"] if tag in forgotten}
        elif event.kind == "store" and lost:
            back = {tag: at for at, (tags, _) in event.data["campaigns"].items() for tag in tags if tag in lost}
            forgotten |= {tag: (event.at_s, generation) for tag, generation in back.items()}
            lost = {tag: value for tag, value in lost.items() if tag not in back}
        yield event, forgotten


def _named(record: Record) -> Found:
    for event, forgotten in _forgotten(record):
        if event.kind not in ("seen", "sram") or event.data.get("stopped"):
            continue
        seen = event.data
        if held := seen["tombstones"] & (seen["active"] | seen["head"] | seen["lora"]):
            yield event, f"has {shown(held)} in SRAM, whom its journal has as forgotten"
        for tag in seen.get("named", frozenset()) & forgotten.keys():
            at_s, generation = forgotten[tag]
            if seen["generation"] >= generation or event.at_s > at_s + record.lease_s:
                yield event, f"names {shown(tag)}, who was forgotten at {at_s:.1f} s by generation {generation}"


def _kept(record: Record) -> Found:
    for event, forgotten in _forgotten(record):
        if event.kind == "store":
            store = event.data
            if there := (store["subjects"] | store["head"] | store["lora"]) & forgotten.keys():
                yield event, f"the newest revision has {shown(there)}, who is forgotten"
            if there := {tag for _, tag in store["contributions"]} & forgotten.keys():
                yield event, f"there are contributions of {shown(there)}, who is forgotten"
        elif event.kind == "trained":
            if there := event.data["tags"] & forgotten.keys():
                yield event, f"a round learns from {shown(there)}, who is forgotten"
        elif event.kind == "end" and (there := {f"subject-{tag}" for tag in forgotten} & event.data["keys"]):
            yield event, f"the coordinator has {shown(there)}: keys of who is forgotten"


def _as_never_enrolled(record: Record) -> Found:
    for event in record.of("end"):
        for shard, audit in event.data["audits"].items():
            # Inconclusive: a node, or samples, of a round are not there any more; there is nothing to compare with.
            if audit.get("state", AuditState.INCONCLUSIVE) not in (AuditState.REPRODUCED, AuditState.INCONCLUSIVE):
                yield event, f"cohort shard {shard} is not what its rounds come to with those who are left: {audit}"


def _acknowledged(record: Record) -> Found:
    enrolled: set[tuple[str, str]] = set()
    contributed: set[tuple[str, str]] = set()
    forgets: dict[str, int] = {}
    restores = False
    for event in record.events:
        match event.kind:
            case "restored":
                restores = True
            case "went-back":
                # Whatever it alone knew went with it.
                enrolled = {each for each in enrolled if each[0] != event.node}
                contributed = {each for each in contributed if each[0] != event.node}
            case "retired":
                enrolled = {each for each in enrolled if each[0] != event.node}
                contributed = {each for each in contributed if each[0] != event.node}
            case "enrolled":
                enrolled.add((event.node, event.data["tag"]))
            case "contributed" if not event.data["refusal"]:
                contributed.add((event.node, event.data["tag"]))
            case "forgotten":
                forgets.setdefault(event.data["tag"], event.data["generation"])
            case "end":
                yield from _lost(event, enrolled, contributed, forgets, restores)


def _lost(
    end: Event,
    enrolled: set[tuple[str, str]],
    contributed: set[tuple[str, str]],
    forgets: Mapping[str, int],
    restores: bool,
) -> Found:
    gone: Mapping[str, int] = end.data["forgotten"]
    for tag, generation in forgets.items():
        if tag not in gone or not (restores or gone[tag] <= generation):
            yield end, f"the forget of {shown(tag)} was acknowledged as generation {generation}, and is lost"
    for node, tag in sorted(enrolled):
        if tag not in gone and tag not in end.data["kept"].get(node, {tag}):
            yield end, f"the enrolment of {shown(tag)} on {node} was acknowledged, and is lost"
    for node, tag in sorted(contributed):
        if tag not in gone and (node, tag) not in end.data["contributions"]:
            yield end, f"the contribution of {node} about {shown(tag)} was acknowledged, and is lost"


def _signed_once(record: Record) -> Found:
    kinds = {"entry": "generation", "revision": "revision", "lease": "sequence"}
    contents = {"entry": "payload", "revision": "digest", "lease": "nonce"}
    seen: dict[tuple[str, int], bytes] = {}
    for event in record.of("restored", *kinds):
        if event.kind == "restored":
            # An entry that no node has kept may be lost, and its number is free.
            seen = {key: value for key, value in seen.items() if key[0] != "entry"}
            continue
        key, content = (event.kind, event.data[kinds[event.kind]]), event.data[contents[event.kind]]
        if seen.setdefault(key, content) != content:
            yield event, f"{kinds[event.kind]} {key[1]} was signed twice"


def _alone(record: Record) -> Found:
    liars: set[str] = set()
    held: set[str] = set()
    poison: set[tuple[str, str, int]] = set()
    for event in record.events:
        match event.kind:
            case "action" if event.data["action"] in _DISHONEST:
                liars.add(event.node)
            case "poisoned":
                poison.add((event.node, event.data["tag"], event.data["sequence"]))
            case "judged" if event.data["accepted"] and event.data["lied"]:
                yield event, f"a receipt of generation {event.data['generation']} was accepted that is a lie"
            case "contributed" if not event.data["refusal"]:
                if (event.node, event.data["tag"], event.data["sequence"]) in poison:
                    yield event, f"a contribution about {shown(event.data['tag'])} was taken that must not be"
            case "went-back":
                # Of what it held nothing is left that a receipt could say: operators decide.
                held.add(event.node)
            case "store":
                for node in sorted(event.data["held"] - liars - held):
                    held.add(node)
                    yield event, f"{node} is held, which has done nothing wrong"
            case "end":
                for node, what in event.data["misnamed"]:
                    yield event, f"{node} {what}"


def _spending(record: Record) -> Found:
    before: dict[str, Event] = {}
    for event in record.of("ledger"):
        now, then = event.data, before.get(event.node)
        before[event.node] = event
        if then is None or then.data["lives"] != now["lives"]:
            continue
        names = ["saved_joules", *(["joules", "cell_writes"] if then.data["boot"] == now["boot"] else [])]
        for name in names:
            if now[name] < then.data[name]:
                yield event, f"{name} went from {then.data[name]:g} to {now[name]:g}"


def _verified(record: Record) -> Found:
    liars: set[str] = set()
    verified: frozenset[tuple[str, int]] = frozenset()
    tags: Mapping[int, Sequence[str]] = {}
    for event in record.events:
        match event.kind:
            case "action" if event.data["action"] in _DISHONEST:
                liars.add(event.node)
            case "store":
                verified = event.data["verified"]
                tags = {generation: named for generation, (named, _) in event.data["campaigns"].items()}
            case "seen" if event.data["connected"] and event.node not in liars:
                seen = event.data
                there = seen["active"] | seen["head"] | seen["lora"] | seen["kept"] | seen["keys"]
                for generation in (generation for node, generation in verified if node == event.node):
                    if left := there.intersection(tags[generation]):
                        yield event, f"generation {generation} is verified, and there is {shown(left)}"


def _canaries(record: Record) -> Found:
    used: dict[str, int] = {}
    for event in record.of("restored", "forgotten"):
        if event.kind == "restored":
            used.clear()
            continue
        generation = event.data["generation"]
        for tag in set(event.data["tags"]) - {event.data["tag"]}:
            if used.setdefault(tag, generation) != generation:
                yield event, f"generations {used[tag]} and {generation} are probed with one canary"


def _unexpected(record: Record) -> Found:
    for event in record.of("unexpected"):
        yield event, event.data["error"]


RULES = (
    Rule(
        "S1", "No node answers with adapters after its lease, behind what it has reported, or when it is held.", _leases
    ),
    Rule("S2", "What a node reports is a prefix of the coordinator's log.", _prefix),
    Rule("S3", "A forget takes effect once on each node: one receipt of it is accepted.", _once),
    Rule("S4", "VERIFIED rests on a valid receipt in the log: every certificate passes its audit.", _receipts),
    Rule("S5", "The Merkle log only grows: all checkpoints are consistent.", _log),
    Rule("L1", "When everything is well again, every forget converges and every node serves.", _converges),
    Rule("F1", "Nobody forgotten is named: at once on nodes that know, after one lease on the others.", _named),
    Rule("F2", "Nobody forgotten is in a revision, contributed again, or learnt from.", _kept),
    Rule(
        "K1",
        "After forgets a cohort's integers are those of a cohort that the forgotten never entered.",
        _as_never_enrolled,
    ),
    Rule("D1", "Nothing that was acknowledged is lost.", _acknowledged),
    Rule("D2", "No generation, revision or lease is signed twice.", _signed_once),
    Rule("N1", "No message of one node changes whom another one names, or stops it; no lie is believed.", _alone),
    Rule("E1", "Energy and cell writes never decrease.", _spending),
    Rule("V1", "A forget is VERIFIED only on nodes that hold nothing of the person.", _verified),
    Rule("C1", "No two forgets are probed with one canary.", _canaries),
    Rule("X1", "No fault brings an error that nobody expects.", _unexpected),
)
