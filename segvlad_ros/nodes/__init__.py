"""Lifecycle nodes: they subscribe, call the pipeline and publish; no algorithm lives here."""
