"""Networks as the cost model sees them: layers, how often each is used, and where the LoRA sits."""

from hwmodel.networks.layer import LayerSpec
from hwmodel.networks.load import load_network, network_names
from hwmodel.networks.spec import NetworkSpec, TrainingFacts

__all__ = ["LayerSpec", "NetworkSpec", "TrainingFacts", "load_network", "network_names"]
