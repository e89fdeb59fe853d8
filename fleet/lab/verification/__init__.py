"""Verification of forgetting: evidence from a simulated fleet, and one verdict for each kind of adapter."""
