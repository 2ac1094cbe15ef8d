"""hashicorp/memberlist without I/O. Pure."""
