"""Histories of faults over the real nodes and coordinator of a simulated fleet, and a checker of its promises."""
