"""Fine-tuning of the backbone for place recognition (segvlad-spec.md 14)."""
