"""What a node is: lifecycle, worker, parameters, QoS, start, and what its services may touch."""
