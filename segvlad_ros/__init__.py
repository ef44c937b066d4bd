"""SegVLAD visual place recognition for ROS 2: where has this robot been before?"""
