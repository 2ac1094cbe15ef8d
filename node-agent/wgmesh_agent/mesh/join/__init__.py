"""Admission of nodes: the Mesh service of a bootstrap node, and its client."""
