"""Private keys of a node: Ed25519 (hello, receipts, contributions), X25519 (what is sealed to this node), and NIST
P-384 (its SuperNode, which takes no other kind).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from google.protobuf import json_format
from reram_fleet.crypto.identifiers import check_node_id
from reram_fleet.crypto.identities import prove_possession
from reram_fleet.crypto.key_store import read_private
from reram_fleet.crypto.sealing import KEY_BYTES
from reram_fleet.errors import KeyFileError
from reram_fleet.processes.durable import write_folder_atomically
from reram_fleet.v1.types_pb2 import NodeIdentity

from edge_node.config import StateFolder

#: The node's name, beside its keys.
_IDENTITY = "identity.json"


@dataclass(frozen=True)
class NodeKeys:
    """A node's name and private keys; `repr` shows the name only."""

    node_id: str
    signing: Ed25519PrivateKey
    sealing: X25519PrivateKey
    #: Of its SuperNode, which reads the private one from `StateFolder.flower_key`; empty for a node that has none.
    flower_public: str

    def __repr__(self) -> str:
        return f"NodeKeys({self.node_id!r})"

    @property
    def identity(self) -> NodeIdentity:
        """The public halves as the coordinator registers them, with the proof of the private ones."""
        identity = NodeIdentity(
            node_id=self.node_id,
            receipt_public_key=self.signing.public_key().public_bytes_raw(),
            sealing_public_key=self.sealing.public_key().public_bytes_raw(),
            flower_public_key=self.flower_public,
        )
        return prove_possession(identity, self.signing)

    @classmethod
    def in_memory(cls, node_id: str, draw: Callable[[int], bytes] = os.urandom) -> NodeKeys:
        """Make the keys of a node without files and without a SuperNode; `KeyFileError` if the name is no DNS label."""
        _check_name(node_id)
        signing_key = Ed25519PrivateKey.from_private_bytes(draw(KEY_BYTES))
        return cls(node_id, signing_key, X25519PrivateKey.from_private_bytes(draw(KEY_BYTES)), flower_public="")

    @classmethod
    def create(cls, folder: StateFolder, node_id: str) -> NodeKeys:
        """Make the keys, all or none; return those that are there already.

        Raises
        ------
        KeyFileError
            For a name that is no DNS label, a folder that holds another node, or one that has lost its name or its
            keys: new keys would make another node of the same name.
        """
        _check_name(node_id)
        if (folder.keys / _IDENTITY).exists():
            keys = cls.load(folder)
            if keys.node_id != node_id:
                raise KeyFileError(f"this folder holds node {keys.node_id}, not {node_id}; use another folder")
            return keys
        if left := folder.remains():
            raise KeyFileError(
                f"{folder.root} was a node's: it has {', '.join(left)}, but no keys/{_IDENTITY}. "
                "Nothing was changed: bring the missing file back from a backup, or make a new node, with a "
                "new name, in another folder"
            )
        folder.create()
        flower = generate_ec_key(SECP384R1())
        write_folder_atomically(
            folder.keys,
            {
                "signing.key": Ed25519PrivateKey.generate().private_bytes_raw(),
                "sealing.key": X25519PrivateKey.generate().private_bytes_raw(),
                folder.flower_key.name: flower.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
                _IDENTITY: json_format.MessageToJson(NodeIdentity(node_id=node_id)).encode(),
            },
        )
        return cls.load(folder)

    @classmethod
    def load(cls, folder: StateFolder) -> NodeKeys:
        """Read the keys of an initialised folder; `KeyFileError` if one is missing, damaged or readable by others."""
        identity = folder.keys / _IDENTITY
        if not identity.exists():
            raise KeyFileError(
                f"there is no node in {folder.root}; run: edge-node init --state {folder.root} --node-id NAME"
            )
        try:
            node_id = json_format.Parse(read_private(identity), NodeIdentity()).node_id
            flower = load_ssh_private_key(read_private(folder.flower_key), None).public_key()
            return cls(
                node_id=node_id,
                signing=Ed25519PrivateKey.from_private_bytes(read_private(folder.keys / "signing.key")),
                sealing=X25519PrivateKey.from_private_bytes(read_private(folder.keys / "sealing.key")),
                flower_public=flower.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
            )
        except (ValueError, json_format.ParseError) as error:
            raise KeyFileError(f"a key file in {folder.keys.name} is damaged: {error}") from error


def _check_name(node_id: str) -> None:
    try:
        check_node_id(node_id)
    except ValueError as error:
        raise KeyFileError(str(error)) from None
