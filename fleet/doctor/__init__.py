"""Examination of a coordinator and what it stands on: it looks, and changes nothing."""
