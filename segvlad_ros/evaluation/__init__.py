"""Measuring recognition: data sets, ground truth, metrics, reports."""
