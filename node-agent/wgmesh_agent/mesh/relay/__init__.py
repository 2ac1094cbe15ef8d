"""Relays for pairs that have no direct path."""
