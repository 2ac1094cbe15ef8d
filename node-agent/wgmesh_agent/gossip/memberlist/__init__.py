"""hashicorp/memberlist without I/O."""
