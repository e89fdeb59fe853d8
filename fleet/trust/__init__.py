"""What makes a claim checkable: keys, receipts, the Merkle log, certificates.

Everything but `keys` is pure.
"""
