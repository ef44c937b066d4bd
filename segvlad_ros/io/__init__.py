"""What comes in and goes out as bytes: images, image folders, bags, pickles. No ROS."""
