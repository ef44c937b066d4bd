"""Whether a match holds point by point, and where the query stood."""
