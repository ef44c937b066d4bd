"""From segments and features to one descriptor a segment (segvlad-spec.md 5 to 8)."""
