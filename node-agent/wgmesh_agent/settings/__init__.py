"""Settings of a command: frozen, validated, from flags, environment, YAML file and defaults."""
