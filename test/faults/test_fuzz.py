"""A small share of benchmark/fuzz.py, the same each time; all of it takes minutes, and is run by make test-long."""
from pathlib import Path

import fuzz
import pytest
from fuzz_targets import TARGETS

SHARE = 60


@pytest.mark.fault('tool', 'whatever comes in is changed at random: images, messages, maps, bags, tables, presets',
                   'read, or refused in one line; how long it takes, and how much memory, is for benchmark/fuzz.py')
@pytest.mark.parametrize('name', TARGETS)
def test_changed_at_random_it_is_read_or_refused_in_one_line(name, tmp_path):
    if 'HDF5' in name:
        pytest.importorskip('h5py')
    trial = fuzz.Trial(name, 0, tmp_path)
    assert not all([trial.read(trial.case(number)) for number in range(SHARE)])  # else nothing was changed


@pytest.mark.long
def test_all_of_it():
    """Over several sittings, if it is interrupted: build/fuzz.json keeps what was done."""
    state = Path(__file__).resolve().parents[2] / 'build/fuzz.json'
    state.parent.mkdir(exist_ok=True)
    tallies = fuzz.campaign(state, seed=2)
    assert {name: tally.findings for name, tally in tallies.items() if tally.findings} == {}
    assert {name: tally.done for name, tally in tallies.items()} == {
        name: target.wanted for name, target in TARGETS.items()}
