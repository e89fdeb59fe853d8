"""A whole fleet on this machine: coordinator and node daemons as real processes."""
