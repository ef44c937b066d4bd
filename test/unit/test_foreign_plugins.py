"""Tests run beside whatever pytest plugins a ROS installation brings."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('name', ['launch_testing', 'launch_ros'])
def test_plugins_of_ros_are_not_loaded(name, tmp_path):
    """Jazzy's launch_testing is refused by pytest 9: here stands a plugin that is refused by any."""
    (tmp_path / 'refused_plugin.py').write_text("raise RuntimeError('loaded')")
    metadata = tmp_path / 'refused_plugin-1.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: refused-plugin\nVersion: 1\n')
    (metadata / 'entry_points.txt').write_text(f'[pytest11]\n{name} = refused_plugin\n')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', 'test/unit/test_text.py']
    for extra, loaded in ((), False), (('-p', name), True):
        ended = subprocess.run([*command, *extra], cwd=ROOT, env=environment, capture_output=True, text=True,
                               check=False)
        assert (ended.returncode != 0, 'loaded' in ended.stderr) == (loaded, loaded), ended.stdout + ended.stderr
