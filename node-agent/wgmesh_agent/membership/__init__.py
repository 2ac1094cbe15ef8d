"""Who is a member, under which key and addresses, and what WireGuard should therefore hold. Pure."""
