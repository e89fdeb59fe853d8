"""What needs the physics or a node's data: the only part of `fleet` that may import `edge_node`."""
