"""hashicorp/serf without I/O. Pure."""
