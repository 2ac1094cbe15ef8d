"""Programs that the chart runs in addition to the operator: before an uninstall, and as a test."""
