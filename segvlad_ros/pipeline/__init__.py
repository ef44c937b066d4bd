"""The core that nodes and tools share: presets, mapping, recognition."""
