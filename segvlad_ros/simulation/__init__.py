"""A small rendered building with a robot in it: RGB-D camera, odometry and truth, for the demo and the tests."""
