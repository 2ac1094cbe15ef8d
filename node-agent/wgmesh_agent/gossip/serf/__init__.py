"""hashicorp/serf without I/O."""
