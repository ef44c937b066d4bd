"""Masks on the cell grid (segvlad-spec.md 5)."""
import numpy as np
import pytest

from segvlad_ros.description.segments import cell_of_pixel, segments_from_masks
from segvlad_ros.types import CellGrid, Masks, SegvladError


def found(pixels, grid):
    return segments_from_masks(Masks(np.asarray(pixels, bool), np.linspace(0, 1, len(pixels))), grid)


def literal_incidence(pixels, grid):
    """The specification, pixel by pixel."""
    count, h, w = pixels.shape
    incidence = np.zeros((count, grid.cells), bool)
    for y in range(grid.height):
        for x in range(grid.width):
            row = int(np.floor(np.float32(y) * np.float32(h / grid.height)))
            column = int(np.floor(np.float32(x) * np.float32(w / grid.width)))
            cell = min(y // grid.cell, grid.rows - 1) * grid.cols + min(x // grid.cell, grid.cols - 1)
            incidence[:, cell] |= pixels[:, row, column]
    return incidence


@pytest.mark.parametrize('mask_size', [(24, 33), (48, 66), (29, 40), (100, 131), (5, 3), (1, 1)])
@pytest.mark.parametrize('grid', [CellGrid(66, 48, 14), CellGrid(66, 48, 5), CellGrid(66, 48, 48)], ids=str)
def test_cells_are_those_of_the_literal_procedure(mask_size, grid):
    pixels = np.random.default_rng(1).random((6, *mask_size)) < 0.03
    pixels[:, 0, 0] = True  # no empty mask
    np.testing.assert_array_equal(found(pixels, grid).incidence, literal_incidence(pixels, grid))


def test_one_pixel_claims_a_cell_and_the_remainder_belongs_to_the_last_one():
    grid = CellGrid(640, 480, 14)
    pixels = np.zeros((1, 240, 320), bool)
    pixels[0, 239, 319] = True
    incidence = found(pixels, grid).incidence
    assert np.flatnonzero(incidence) == [grid.cells - 1]
    assert cell_of_pixel(grid)[479, 639] == grid.cells - 1


def test_centroid_box_and_area():
    rng = np.random.default_rng(2)
    pixels = rng.random((9, 300, 45)) < 0.02  # more rows than a byte counts
    segments = found(pixels, CellGrid(90, 600, 15))
    for number, mask in enumerate(pixels):
        rows, columns = np.nonzero(mask)
        np.testing.assert_array_equal(segments.centroids[number], [columns.mean(), rows.mean()])
        box = [columns.min() / 45, rows.min() / 300, (np.ptp(columns) + 1) / 45, (np.ptp(rows) + 1) / 300]
        np.testing.assert_allclose(segments.boxes[number], box)
        assert segments.areas[number] == pytest.approx(mask.mean())


def test_a_mask_that_covers_more_rows_than_a_byte_counts():
    segments = found(np.ones((1, 1000, 700), bool), CellGrid(640, 480, 14))
    assert segments.areas == [1.0]
    np.testing.assert_allclose(segments.centroids, [[349.5, 499.5]])


def test_masks_without_a_pixel_are_left_out():
    pixels = np.zeros((3, 24, 32), bool)
    pixels[1, 3, 4] = True
    segments = found(pixels, CellGrid(64, 48, 8))
    assert len(segments) == 1
    assert segments.quality == [0.5]


@pytest.mark.parametrize('pixels', [np.zeros((0, 24, 32), bool), np.zeros((2, 24, 32), bool)], ids=['none', 'empty'])
def test_no_segment_is_an_answer(pixels):
    segments = found(pixels, CellGrid(64, 48, 8))
    assert len(segments) == 0
    assert segments.incidence.shape == (0, 48)
    assert segments.centroids.shape == (0, 2)
    assert segments.boxes.shape == (0, 4)


def test_an_image_smaller_than_a_cell_is_refused():
    with pytest.raises(SegvladError, match='larger image'):
        found(np.ones((1, 5, 5), bool), CellGrid(10, 10, 14))
