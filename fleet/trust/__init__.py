"""Proofs of a forget: keys, receipts, the Merkle log, certificates.

Everything but `keys` is pure.
"""
