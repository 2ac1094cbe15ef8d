"""What a command runs with: frozen, validated, from flags, environment, YAML file and defaults."""
