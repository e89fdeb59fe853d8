"""Fleet that knows faces: what the face workloads start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_node.backbones.filters import COARSE, FilterBank, FilterLayout
from edge_node.tasks.faces import OLIVETTI, FacesTask, PhotoSet
from fleet.lab.fleets.captured_fleet import CapturedFleet
from hwmodel import ConstantProgrammingError, DeviceModels, EnergyLedger, Preset, keyed_uint16

NODES = 8
#: A person shows up at one to this many nodes.
MAX_SPREAD = 3


class PerfectFaces(FacesTask):
    """The same task on chips without any programming error; converters as they are."""

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> FilterBank:
        """Program the filters into perfect cells."""
        perfect = DeviceModels(ConstantProgrammingError(0.0))
        return FilterBank.program(preset, fleet_seed, node_ids, ledger, perfect, self.layout)


def face_fleet(
    seed: int,
    *,
    nodes: int = NODES,
    perfect: bool = False,
    layout: FilterLayout = COARSE,
    photos: PhotoSet = OLIVETTI,
) -> CapturedFleet:
    """Program the chips of a seed and show everybody's photos to all of them.

    Parameters
    ----------
    seed
        Of the split, of the chips, and of who shows up where.
    perfect
        Whether cells take their conductances without an error.
    layout
        Of the filters; two-layer networks are tuned to the default.
    photos
        Whose photos.
    """
    split = photos.split(seed)
    task = (PerfectFaces if perfect else FacesTask)(split, seed, layout, photos)
    return CapturedFleet.of(task, seed, nodes, {name: _places(seed, name, nodes) for name in split.enrolled})


def _places(seed: int, name: str, nodes: int) -> tuple[int, ...]:
    draws = keyed_uint16(seed, "faces.places", name, count=nodes + 1).numpy()
    spread = 1 + int(draws[-1]) % min(MAX_SPREAD, nodes)
    return tuple(np.argsort(draws[:-1], kind="stable")[:spread].tolist())
