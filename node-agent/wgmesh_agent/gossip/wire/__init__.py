"""Codecs between bytes of memberlist and serf, and dataclasses."""
