"""Everything that speaks ROS: conversions, parameters, QoS, the worker, synchronisation, TF, diagnostics."""
