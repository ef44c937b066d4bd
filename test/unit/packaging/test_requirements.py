"""What is installed with the package, and what messages tell to install, whichever way the package was built."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from segvlad_ros.io.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
ROSDEP = {  # keys of rosdep/python.yaml; noble has no faiss and no rosbags of its own, and takes them from pip
    'faiss-cpu': 'python3-faiss', 'jinja2': 'python3-jinja2', 'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy', 'opencv-contrib-python-headless': 'python3-opencv', 'pillow': 'python3-pil',
    'pyyaml': 'python3-yaml', 'rosbags': 'python3-rosbags-pip', 'scikit-image': 'python3-skimage',
    'scipy': 'python3-scipy', 'tqdm': 'python3-tqdm',
}
KEYLESS = {'threadpoolctl'}  # we work without it


def argument_of_setup(name):
    """A literal argument of setup()."""
    call = next(node for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
                if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup')
    return next(keyword.value for keyword in call.keywords if keyword.arg == name)


def test_the_hints_name_what_setup_installs():
    extras = ast.literal_eval(argument_of_setup('extras_require'))
    assert {extra: list(requirements) for extra, requirements in EXTRAS.items()} == {
        extra: extras[extra] for extra in extras if extra not in ('dev', 'browser', 'docs')}


def test_rosdep_installs_what_pip_does():
    base = ast.literal_eval(argument_of_setup('install_requires').right)  # ros_wheels() + [...]
    names = {re.match(r'[\w-]+', requirement).group() for requirement in base}
    keys = {depend.text for depend in ElementTree.parse(ROOT / 'package.xml').getroot().iter('exec_depend')
            if depend.text.startswith('python3-')}
    assert {ROSDEP[name] for name in names - KEYLESS} == keys


@pytest.mark.parametrize('folder', ['segvlad_ros', 'docs', 'config', 'launch'])
def test_nobody_is_told_to_take_the_package_itself_from_an_index(folder):
    """Who has built it with colcon would be given a stranger's, if there is one."""
    told = [path for path in (ROOT / folder).rglob('*') if path.suffix in ('.py', '.md', '.yaml', '.html')
            and 'pip install' in path.read_text() and re.search(r'segvlad_ros\[', path.read_text())]
    assert not told
    assert 'segvlad_ros[' not in (ROOT / 'README.md').read_text()


def test_without_threadpoolctl_one_line_says_what_that_costs(tmp_path):
    (tmp_path / 'threadpoolctl.py').write_text('raise ImportError')
    code = ("import logging, sys; sys.path.insert(0, sys.argv[1]); logging.basicConfig(format='%(message)s')\n"
            'import numpy as np; from segvlad_ros.pipeline.builders import build_describer\n'
            'from segvlad_ros.pipeline.presets import load_preset\n'
            'describer = build_describer(load_preset("classic"))\n'
            'for _ in range(2): describer.describe(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))')
    ended = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, check=False,
                           cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if 'threadpoolctl' in line]
    assert len(lines) == 1 and 'apt install python3-threadpoolctl' in lines[0], ended.stderr


def test_the_threads_of_a_benchmark_are_refused_without_threadpoolctl(tmp_path):
    (tmp_path / 'threadpoolctl.py').write_text('raise ImportError')
    code = ('import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom segvlad_ros.cli import main\n'
            'sys.exit(main(["benchmark", "stock", "--threads", "1"]))')
    ended = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, check=False,
                           cwd=ROOT)
    assert (ended.returncode, len(ended.stderr.strip().splitlines())) == (2, 1), ended.stderr
    assert 'pip install threadpoolctl' in ended.stderr


@pytest.mark.parametrize('plugin', ['launch_testing', 'launch_ros', 'launch_pytest'])
def test_our_tests_start_beside_a_sourced_ros(plugin, tmp_path):
    """Its plugins are of pytest 7, and pytest 9 refuses them: no test would run."""
    (tmp_path / f'{plugin}_plugin.py').write_text('def pytest_pycollect_makemodule(path, parent):\n    pass\n')
    metadata = tmp_path / f'{plugin}-1.0.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {plugin}\nVersion: 1.0\n')
    (metadata / 'entry_points.txt').write_text(f'[pytest11]\n{plugin} = {plugin}_plugin\n')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run([sys.executable, '-m', 'pytest', '--collect-only', '-q', 'test/unit/test_text.py'], cwd=ROOT,
                           env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_robot_page_starts_what_is_installed():
    """After colcon ``segvlad`` is on no path, and each terminal needs both environments."""
    page = (ROOT / 'docs' / 'robot.md').read_text()
    executables = {'segvlad', *(path.stem for path in (ROOT / 'segvlad_ros' / 'nodes').glob('[a-z]*.py'))}
    assert 'segvlad' in set(re.findall(r'ros2 run segvlad_ros (\w+)', page)) <= executables
    launched = set(re.findall(r'ros2 launch segvlad_ros ([\w.]+)', page))
    assert launched and launched <= {path.name for path in (ROOT / 'launch').iterdir()}
    assert 'source .venv/bin/activate && source install/setup.bash' in page
