"""Bindings of names, keys and addresses to members."""
