import shutil
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.signing import sign
from reram_fleet.v1.types_pb2 import NodeIdentity

from fleet.domain.execution import HeldAtCommit
from fleet.domain.tags import new_id
from fleet.store import Store
from tests.unit.store.kinds import ALL, LASTING, SQLITE

NOTHING = HeldAtCommit(subject_adapters=0, lora_rows=0, samples=0, keys=0)


@dataclass
class Clock:
    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def make_identity(node_id, key=None):
    return NodeIdentity(
        node_id=node_id,
        receipt_public_key=key or node_id.encode().ljust(32, b"\1"),
        sealing_public_key=node_id.encode().ljust(32, b"\2"),
        flower_public_key=f"ecdsa-sha2-nistp384 {node_id}",
    )


@pytest.fixture
def identity():
    return make_identity


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """SQLite file in which every table is made: copying it is quicker than migrating."""
    path = tmp_path_factory.mktemp("migrated") / "fleet.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=ALL)
def url(request, tmp_path):
    """Address of a database: each test runs over all three kinds, unless it names those that it is about."""
    match request.param:
        case "postgresql":
            return request.getfixturevalue("postgres_url")
        case "memory":
            return "sqlite://"
        case _:
            copied = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "fleet.db")
            return f"sqlite:///{copied}"


@pytest.fixture(params=LASTING)
def empty_url(request, tmp_path):
    """Address of a database in which nothing is."""
    if request.param == SQLITE:
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    with request.getfixturevalue("postgres").database(options="") as url:
        yield url


@pytest.fixture
def store(url, clock):
    with Store.open(url, now_ms=clock) as store:
        with store.transaction() as tx:
            tx.fleet.create("f1")
            for node_id in ("n1", "n2"):
                tx.nodes.enroll(make_identity(node_id))
        yield store


@pytest.fixture
def command_key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def commit(clock, command_key):
    """Commit a forget in an open transaction; returns its campaign."""

    def commit(tx, *tags, request_id="r1", body=b"body"):
        campaign_id = new_id(clock())
        entry = tx.log.append(campaign_id, tags, lambda command: sign(command_key, command))
        return tx.forgets.create(
            campaign_id,
            request_id=request_id,
            request_digest=body,
            generation=entry.generation,
            tags=tags,
            held_by_revision={0: NOTHING},
            held={},
            lora_affected=False,
        )

    return commit
