"""What goes out: conversions, markers, counts, status and diagnostics."""
