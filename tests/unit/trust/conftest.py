from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.digests import STATEMENT, ZERO_HASH, adapters_digest
from reram_fleet.crypto.signing import payload_hash, sign
from reram_fleet.v1.types_pb2 import (
    RECEIPT_OUTCOME_ERASED,
    AdapterDigest,
    Envelope,
    ForgetCommand,
    ProbeResult,
    Receipt,
)

from fleet.trust.keys import PrivateKeys
from fleet.trust.leaves import nodes_root
from fleet.trust.receipts import ReceiptExpectation

KEPT, LOCAL, FORGOTTEN, CANARY = ("aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16)


@dataclass
class ForgottenPerson:
    """A node that did all that it should, and the coordinator that ordered it."""

    coordinator: PrivateKeys = field(default_factory=PrivateKeys.drawn)
    node_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    campaign_id: str = "01aryz6s410000000000000000"

    @property
    def command(self) -> Envelope:
        command = ForgetCommand(
            fleet_id="f1",
            generation=4,
            previous_hash=b"\1" * 32,
            campaign_id=self.campaign_id,
            subject_tags=[FORGOTTEN],
            nodes_root=nodes_root(["n1"]),
            nodes=1,
        )
        return self.coordinator.sign(command)

    def receipt(self, **changes) -> Receipt:
        active = [
            AdapterDigest(subject_tag=KEPT, digest=b"k" * 32),
            AdapterDigest(subject_tag=CANARY, digest=b"d" * 32),
        ]
        receipt = Receipt(
            fleet_id="f1",
            node_id="n1",
            campaign_id=self.campaign_id,
            generation=4,
            command_hash=payload_hash(self.command),
            outcome=RECEIPT_OUTCOME_ERASED,
            counter=1,
            previous_receipt_hash=ZERO_HASH,
            adapters_digest_after=adapters_digest(active, b"l" * 32, b"h" * 32),
            active_adapters=active,
            lora_digest=b"l" * 32,
            head_digest=b"h" * 32,
            revision_digest=b"r" * 32,
            subject_adapters_erased=1,
            challenge_nonce=b"nonce",
            probe_results=[ProbeResult(subject_tag=""), ProbeResult(subject_tag=CANARY)],
            statement=STATEMENT,
        )
        for name, value in changes.items():
            receipt.ClearField(name)
            if isinstance(value, list):
                getattr(receipt, name).extend(value)
            else:
                setattr(receipt, name, value)
        if "active_adapters" in changes and "adapters_digest_after" not in changes:
            receipt.adapters_digest_after = adapters_digest(
                receipt.active_adapters, receipt.lora_digest, receipt.head_digest
            )
        return receipt

    def signed(self, **changes) -> Envelope:
        return sign(self.node_key, self.receipt(**changes))

    @property
    def node_public_key(self) -> bytes:
        return self.node_key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self.coordinator.command_public_key

    @property
    def expectation(self) -> ReceiptExpectation:
        return ReceiptExpectation(
            fleet_id="f1",
            node_id="n1",
            campaign_id=self.campaign_id,
            generation=4,
            command_hash=payload_hash(self.command),
            previous_counter=0,
            previous_receipt_hash=ZERO_HASH,
            active_adapters={KEPT: b"k" * 32, CANARY: b"d" * 32},
            local_adapters={LOCAL: b"b" * 32},
            forgotten_tags=frozenset({FORGOTTEN}),
            lora_digest=b"l" * 32,
            head_digest=b"h" * 32,
            revision_digest=b"r" * 32,
            challenge_nonce=b"nonce",
            probe_answers=("", CANARY),
            named=1,
        )


@pytest.fixture
def forget() -> ForgottenPerson:
    return ForgottenPerson()
