"""Subnet routes: networks behind members."""
