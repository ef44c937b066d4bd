"""Bridges to SLAM back-ends: one file a back-end, its message definitions imported only when it is the target."""
