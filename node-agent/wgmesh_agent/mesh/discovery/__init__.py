"""Endpoint discovery: this node's advertised endpoint, and the working endpoint of each peer."""
