"""Formats of bytes fields that the `.proto` files leave open."""
