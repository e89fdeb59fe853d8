"""Private API of Flower, used here only: node ids of public keys, and the message by which a SuperNode leaves.

`flwr supernode list` names neither keys nor names; the Control API behind it does. Checked against the installed Flower
by `tests/integration/learning/test_superlink_control.py`.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from flwr.proto.control_pb2 import ListNodesRequest
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import bytes_to_public_key

UNREGISTERED = "unregistered"


def supernode_ids_by_key(address: str, ca_pem: bytes) -> dict[bytes, int]:
    """Return the Flower node id by OpenSSH public key (type and key, no comment) of every registered node.

    The SuperLink is at `address` (host:port), and its TLS certificate is verified with `ca_pem`.
    """
    client = ControlHttpClient.from_server_address(
        server_address=address,
        insecure=False,
        root_certificates=ca_pem,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
    )
    try:
        nodes = client.ListNodes(ListNodesRequest()).nodes_info
    finally:
        client.close()
    return {
        bytes_to_public_key(node.public_key).public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        ): int(node.node_id)
        for node in nodes
        if node.status != UNREGISTERED
    }


def deactivation(node_id: int) -> bytes:
    """Return the message of the Fleet API by which the SuperNode of a Flower node id leaves."""
    return DeactivateNodeRequest(node_id=node_id).SerializeToString()
