"""Forgets: committed, carried out, proved."""
