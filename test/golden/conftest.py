import numpy as np
import pytest
from shared_data import shared


@pytest.fixture(scope='module')
def golden():
    """Folder of the reference's outputs."""
    return shared('golden')


@pytest.fixture(scope='module')
def toy(golden):
    """The reference's own map."""
    return np.load(golden / 'golden_map.npz')
