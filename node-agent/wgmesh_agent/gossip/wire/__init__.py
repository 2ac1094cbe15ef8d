"""Bytes of memberlist and serf, to dataclasses and back. Pure."""
