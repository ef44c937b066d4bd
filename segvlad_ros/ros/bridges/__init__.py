"""Bridges to SLAM back-ends, one class each, whose message definitions are imported only when it is the target."""
