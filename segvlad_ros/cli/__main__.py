"""``python -m segvlad_ros.cli``."""
import sys

from segvlad_ros.cli import main

sys.exit(main())
