"""Who is bound to which name, key and addresses."""
