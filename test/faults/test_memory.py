"""What happens where the allocator refuses memory: really, in a process that may take no more than it has."""
import os
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from segvlad_ros import cli
from segvlad_ros.text import out_of_memory, said_by

LIMITED = textwrap.dedent("""
    import resource, sys
    import cv2, numpy, faiss, scipy.spatial, scipy.linalg
    from segvlad_ros.cli import main
    from segvlad_ros.pipeline.builders import build_describer
    from segvlad_ros.pipeline.presets import load_preset
    build_describer(load_preset('classic')).describe(numpy.zeros((480, 640, 3), numpy.uint8))
    pages = int(open('/proc/self/statm').read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (int(sys.argv[1]) << 20),) * 2)
    sys.exit(main(sys.argv[2:]))
""")


@pytest.fixture
def large_image(tmp_path):
    """72 MB when it is decoded, and twice that while colours are put in order."""
    path = tmp_path / 'large.png'
    cv2.imwrite(str(path), np.tile(np.arange(255, dtype=np.uint8)[None, :, None], (4000, 24, 3)))
    return path


def described(image, megabytes):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, '-c', LIMITED, str(megabytes), 'describe', str(image)], capture_output=True,
                          text=True, env=environment, check=False)


@pytest.mark.fault('memory', 'memory runs out in a tool', 'status 2 and one line; no file is blamed for it')
def test_a_tool_says_so_in_one_line(large_image):
    assert described(large_image, 2000).returncode == 0
    ended = described(large_image, 90)
    assert ended.returncode == 2, ended.stderr
    line, = ended.stderr.strip().splitlines()
    assert line.startswith('segvlad describe: ')
    assert 'memory has run out' in line


def test_a_tool_whose_modules_find_no_memory_says_so_too(monkeypatch, capsys):
    def no_room(name):
        raise MemoryError('no room for the modules')

    monkeypatch.setattr(cli, '_parser', no_room)
    assert cli.main(['map', 'info', 'a.segvlad']) == 2
    assert capsys.readouterr().err.startswith('segvlad map: memory has run out (')


@pytest.mark.fault('memory', 'the allocator refuses memory to NumPy or OpenCV', 'one line that says so and what to do')
def test_what_numpy_and_opencv_say_is_told_apart_from_faults_of_ours():
    with pytest.raises(MemoryError) as numpy_says:
        np.empty(1 << 60, np.uint8)
    with pytest.raises(cv2.error) as opencv_says:
        cv2.copyMakeBorder(np.zeros((4, 4), np.uint8), 0, 2 ** 30, 0, 2 ** 30, cv2.BORDER_CONSTANT)
    for error in (numpy_says.value, opencv_says.value):
        assert out_of_memory(error), error
        assert said_by(error).startswith('memory has run out (')
    assert not out_of_memory(ValueError('memory'))
    assert said_by(ValueError('memory')) == 'ValueError: memory'
