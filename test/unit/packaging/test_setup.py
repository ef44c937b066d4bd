"""What .ci/setup says before it installs anything."""
import shutil
import subprocess
from pathlib import Path

SETUP = Path(__file__).resolve().parents[3] / '.ci/setup'


def test_a_path_below_which_messages_cannot_be_built_is_said_first(tmp_path):
    folder = tmp_path / 'Übung'
    (folder / '.ci').mkdir(parents=True)
    shutil.copy(SETUP, folder / '.ci/setup')
    done = subprocess.run([folder / '.ci/setup'], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, '')
    line, = done.stderr.splitlines()
    assert 'not ASCII: clone into another folder' in line
    assert [path.name for path in folder.iterdir()] == ['.ci']
