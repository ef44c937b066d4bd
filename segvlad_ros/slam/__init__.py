"""A reference SLAM back-end: odometry and loop closures become an optimised path."""
