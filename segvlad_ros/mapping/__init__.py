"""Keyframes: when a frame becomes one, the file that keeps them, the index that searches their segments."""
