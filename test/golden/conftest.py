import os

import check
import numpy as np
import pytest


@pytest.fixture(scope='module')
def golden():
    """Folder of the reference's outputs."""
    if not check.DEFAULT.is_dir():
        if os.environ.get('CI'):
            pytest.fail(f'the golden data is missing: {check.DEFAULT}')
        pytest.skip(f'the golden data is not on this machine ({check.DEFAULT})')
    return check.DEFAULT


@pytest.fixture(scope='module')
def toy(golden):
    """The reference's own map."""
    return np.load(golden / 'golden_map.npz')
