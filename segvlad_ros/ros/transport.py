"""Room for raw images in Fast DDS's shared memory."""
from __future__ import annotations

import os

from segvlad_ros.pipeline.presets import config_directory

VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def allow_large_images() -> None:
    """Let this process publish raw images without loss; to be called before ``rclpy.init``.

    By default Fast DDS has 512 kB of shared memory a process. What does not fit, such as a raw image of 640 x 480, goes
    through UDP in fragments: best-effort subscribers lose most of them, and reliable ones wait up to 3 s for the next
    heartbeat. A profile that the user has chosen stays; other DDS implementations do not read it.
    """
    if not any(os.environ.get(name) for name in VARIABLES):
        os.environ[VARIABLES[0]] = str(config_directory() / 'dds' / 'fastdds_large_images.xml')
