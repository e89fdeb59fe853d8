"""Laboratory: all that needs the physics or a node's data, and the only part of `fleet` that may import `edge_node`."""
