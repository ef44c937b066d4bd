"""The miniature data set of the simulated building."""
import csv

import pytest

from segvlad_ros.evaluation.place_datasets import place_dataset
from segvlad_ros.simulation.image_set import QUERIES, REFERENCES, write_image_set
from segvlad_ros.types import SegvladError


def test_it_is_a_data_set_in_which_every_query_has_a_place_and_no_reference_has_all(tmp_path):
    write_image_set(tmp_path / 'miniature')
    dataset = place_dataset('miniature', tmp_path)
    assert [len(images) for images in dataset.images(tmp_path)] == [REFERENCES, QUERIES]
    truth = dataset.true_references(tmp_path)
    assert all(1 <= len(true) <= 3 for true in truth) and len({*map(tuple, truth)}) == QUERIES
    with (tmp_path / 'miniature' / 'truth.csv').open() as file:
        assert {row['query'] for row in csv.DictReader(file)} == {f'queries/{number:03d}.jpg'
                                                                  for number in range(QUERIES)}
    with pytest.raises(SegvladError, match='exists: remove it'):
        write_image_set(tmp_path / 'miniature')
