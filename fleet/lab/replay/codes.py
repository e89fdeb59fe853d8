"""Captured codes as an auditor gets them: one file per node, with the salts of their commitments.

These are biometric: they travel apart from the manifest, to somebody who may have them, and are deleted when the audit
is done. Files are 0600.
"""

from __future__ import annotations

import io
import secrets
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from reram_fleet.processes.durable import write_atomically

from edge_node.errors import SampleError
from fleet.errors import InvalidInputError
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.forgetting import SALT_BYTES
from fleet.lab.replay.hidden_layer import PairCodes


@dataclass(frozen=True, eq=False)
class AuditCodes:
    """Codes of several nodes."""

    #: Their samples.
    nodes: tuple[NodeSamples, ...]
    #: By (node, tag); with an empty tag, of the node's public codes.
    salts: Mapping[tuple[str, str], bytes]

    @classmethod
    def of(cls, nodes: Sequence[NodeSamples], tags: Collection[str]) -> AuditCodes:
        """Take these people's codes, with fresh salts."""
        kept = tuple(
            replace(node, people={tag: node.people[tag] for tag in sorted(set(tags) & set(node.people))})
            for node in nodes
        )
        salts = {(node.node_id, tag): secrets.token_bytes(SALT_BYTES) for node in kept for tag in ("", *node.people)}
        return cls(kept, salts)

    def write(self, folder: Path) -> None:
        """Write a file per node."""
        for node in self.nodes:
            arrays = {"centre": node.centre.numpy(), **self._entry("public", node.public, self.salts[node.node_id, ""])}
            for tag, pairs in node.people.items():
                arrays |= self._entry(f"people/{tag}", pairs, self.salts[node.node_id, tag])
            content = io.BytesIO()
            np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy types a keyword of its own among the names
            write_atomically(folder / f"{node.node_id}.npz", content.getvalue())

    @classmethod
    def read(cls, folder: Path, node_ids: Sequence[str]) -> AuditCodes:
        """Read the files of these nodes; `InvalidInputError` if one is missing or damaged."""
        nodes: list[NodeSamples] = []
        salts: dict[tuple[str, str], bytes] = {}
        for node_id in node_ids:
            path = folder / f"{node_id}.npz"
            try:
                with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
                node, mine = _node(node_id, arrays)
            except FileNotFoundError:
                raise InvalidInputError(f"there are no codes of node {node_id}: {path} is missing") from None
            except (OSError, KeyError, ValueError, zipfile.BadZipFile, SampleError) as error:
                raise InvalidInputError(f"{path} does not hold the codes of a node: {error}") from error
            nodes.append(node)
            salts |= mine
        return cls(tuple(nodes), salts)

    @staticmethod
    def _entry(name: str, pairs: PairCodes, salt: bytes) -> dict[str, np.ndarray]:
        return {
            f"{name}/inputs": pairs.inputs.numpy(),
            f"{name}/drives": pairs.drives.numpy(),
            f"{name}/salt": np.frombuffer(salt, dtype=np.uint8),
        }


def _node(node_id: str, arrays: Mapping[str, np.ndarray]) -> tuple[NodeSamples, dict[tuple[str, str], bytes]]:
    """Return a node's samples and salts of one file's arrays."""
    names = {name.rpartition("/")[0] for name in arrays if name != "centre"}
    pairs = {
        name: PairCodes(torch.from_numpy(arrays[f"{name}/inputs"]), torch.from_numpy(arrays[f"{name}/drives"]))
        for name in sorted(names)
    }
    public, centre = pairs.pop("public"), torch.from_numpy(arrays["centre"])
    shape = (public.inputs.shape[-1], public.drives.shape[-1])
    for name, codes in {"public": public, **pairs}.items():
        got = (codes.inputs.shape[-1], codes.drives.shape[-1])
        if codes.inputs.ndim != 2 or got != shape or not codes.samples:
            raise ValueError(f"{name} has codes of {got} instead of {shape}")
    if centre.dtype != torch.int32 or list(centre.shape) != [shape[1]]:
        raise ValueError(f"the centre is int32 [{shape[1]}]; got {centre.dtype} {list(centre.shape)}")
    people = {name.removeprefix("people/"): codes for name, codes in pairs.items()}
    salts = {(node_id, tag): arrays[f"people/{tag}/salt"].tobytes() for tag in people}
    salts[node_id, ""] = arrays["public/salt"].tobytes()
    return NodeSamples(node_id, people, public, centre), salts
