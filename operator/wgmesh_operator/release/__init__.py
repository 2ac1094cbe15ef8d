"""Programs that the chart runs beside the operator: before it is uninstalled, and to test it."""
