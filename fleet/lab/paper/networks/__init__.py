"""The two small networks of arXiv 2601.10037 as modules, written from the paper's description.

Both take and return the batch first and keep nothing between calls, so that `hwmodel.program` can put them on many
chips at once. Their sizes are checked against the specifications in `hwmodel.networks`.
"""

from fleet.lab.paper.networks.lsm import SpikingLsm
from fleet.lab.paper.networks.mixer import FaceMixer

__all__ = ["FaceMixer", "SpikingLsm"]
