"""Nodes: streams, reports, needs, and decisions about them."""
