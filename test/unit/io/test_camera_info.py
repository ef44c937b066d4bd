"""What a camera_info must be: every model and size that CameraInfo.msg and REP 104 allow, and one line for the rest."""
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from segvlad_ros.io.camera_info import CameraInfos, camera_model, checked
from segvlad_ros.types import CameraModel, SegvladError

K = [460.0, 0.0, 320.0, 0.0, 461.0, 240.0, 0.0, 0.0, 1.0]
P = [450.0, 0.0, 318.0, -27.0, 0.0, 450.0, 239.0, 0.0, 0.0, 0.0, 1.0, 0.0]
EYE = np.eye(3).ravel().tolist()
NO_ROI = {'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0, 'do_rectify': False}


def info(*, roi=None, **changes):
    fields = {'width': 640, 'height': 480, 'k': K, 'd': [], 'r': EYE, 'p': P, 'distortion_model': 'plumb_bob',
              'binning_x': 0, 'binning_y': 0}
    return SimpleNamespace(**{**fields, **changes}, roi=SimpleNamespace(**{**NO_ROI, **(roi or {})}))


@pytest.mark.parametrize(('name', 'given', 'kept', 'coefficients'), [
    ('plumb_bob', [0.1, -0.2, 0.0, 0.01, 0.3], 'plumb_bob', 5),
    ('plumb_bob', [0.1, -0.2, 0.001, 0.01], 'plumb_bob', 5),
    ('plumb_bob', [0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 'plumb_bob', 5),
    ('rational_polynomial', [0.1] * 8, 'rational_polynomial', 8),
    ('rational_polynomial', [0.1] * 8 + [0.0] * 6, 'rational_polynomial', 8),
    ('rational_polynomial', [0.1] * 14, 'rational_polynomial', 14),
    ('equidistant', [0.1, 0.02, 0.003, 0.0004], 'equidistant', 4),
    ('equidistant', [0.1, 0.02, 0.003, 0.0004, 0.0], 'equidistant', 4),  # librealsense's T265
    ('fisheye', [0.1, 0.0, 0.0, 0.0], 'equidistant', 4),
    ('', [], 'plumb_bob', 0),
    ('none', [0.0] * 5, 'plumb_bob', 0),
    ('equidistant', [], 'plumb_bob', 0),
    ('equidistant', [0.0] * 4, 'equidistant', 4),  # the angle itself: an ideal fisheye lens
    ('equidistant', [0.0] * 5, 'equidistant', 4),
    ('kannala_brandt', [0.1, 0.02, 0.003, 0.0004], 'equidistant', 4),
    ('Kannala Brandt4', [0.1, 0.02, 0.003, 0.0004], 'equidistant', 4),
    ('equi', [0.1, 0.02, 0.003, 0.0004], 'equidistant', 4)])
def test_distortions_that_drivers_send(name, given, kept, coefficients):
    model = camera_model(info(distortion_model=name, d=given))
    assert (model.distortion_model, len(model.distortion)) == (kept, coefficients)
    assert model.distortion.tolist() == (given + [0.0] * 14)[:coefficients]


@pytest.mark.fault('camera', 'a camera_info with NaN, a wrong K, too few coefficients, an unknown model',
                   'the field and its value are named; images go on without a metric pose')
@pytest.mark.parametrize(('changes', 'said'), [
    ({'distortion_model': 'equidistant', 'd': [0.1, 0.1, 0.1, 0.1, 0.1]}, 'D has 5 values, equidistant has 4'),
    ({'distortion_model': 'plumb_bob', 'd': [0.1] * 8}, 'D has 8 values, plumb_bob has 5'),
    ({'distortion_model': 'rational_polynomial', 'd': [0.1] * 5}, 'D has 5 values'),
    ({'distortion_model': 'plumb_bob', 'd': [0.1]}, 'D has 1 values'),
    ({'distortion_model': 'ftheta', 'd': [0.1] * 6}, "distortion_model is 'ftheta'"),
    ({'d': [0.1, float('nan'), 0.0, 0.0, 0.0]}, 'D is not finite'),
    ({'k': [*K[:2], float('inf'), *K[3:]]}, 'K is not finite'),
    ({'r': [float('nan')] * 9}, 'R is not finite'),
    ({'r': [2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0]}, 'R is not a rotation'),
    ({'p': [float('nan')] * 12}, 'P is not finite'),
    ({'k': [0.72, 0, 0.5, 0, 0.96, 0.5, 0, 0, 1]}, 'fx is 0.72 pixels in an image of 640'),
    ({'k': [-460.0, *K[1:]]}, 'fx is -460 pixels'),
    ({'k': [*K[:2], 3200.0, *K[3:]]}, 'cx is 3200 pixels'),
    ({'k': [460.0, 5.0, *K[2:]]}, 'K is not [fx 0 cx, 0 fy cy, 0 0 1]'),
    ({'k': [*K[:8], 0.0]}, 'K is not [fx 0 cx, 0 fy cy, 0 0 1]'),
    ({'width': 0, 'height': 0}, '0 x 0 pixels')])
def test_what_cannot_be_used_is_named_with_its_value(changes, said):
    with pytest.raises(SegvladError) as refusal:
        camera_model(info(**changes))
    assert said in str(refusal.value)
    assert '\n' not in str(refusal.value)


@pytest.mark.fault('camera', 'a camera that is not calibrated: K is zero', 'no model, and nothing metric')
def test_an_uncalibrated_camera_has_no_model():
    assert camera_model(info(k=[0.0] * 9, p=[0.0] * 12, width=0, height=0)) is None
    assert camera_model(info(k=[0.0] * 9, p=[0.0] * 12), rectified=True) is None


def test_rectified_images_fit_p_and_have_no_distortion():
    raw = info(d=[0.1, -0.2, 0.0, 0.0, 0.0])
    model = camera_model(raw, rectified=True)
    assert model.matrix.tolist() == [[450.0, 0, 318.0], [0, 450.0, 239.0], [0, 0, 1]]
    assert not model.distortion.any()
    assert camera_model(raw).matrix.ravel().tolist() == K
    with pytest.raises(SegvladError, match='P is all zero'):
        camera_model(info(d=[0.1, -0.2, 0.0, 0.0, 0.0], p=[0.0] * 12), rectified=True)
    assert camera_model(info(p=[0.0] * 12), rectified=True).matrix.ravel().tolist() == K
    ideal = info(p=[0.0] * 12, d=[0.0] * 4, distortion_model='equidistant')
    assert camera_model(ideal, rectified=True).straight
    assert not camera_model(ideal).straight


def test_an_image_that_is_cut_and_binned():
    """A point's pixel in the image that is sent is what the driver's cutting and binning makes of it."""
    model = camera_model(info(roi={'x_offset': 100, 'y_offset': 40, 'width': 400, 'height': 300},
                              binning_x=2, binning_y=2))
    assert (model.width, model.height) == (200, 150)
    whole = np.array(K).reshape(3, 3) @ [0.1, -0.05, 1.0]
    sent = model.matrix @ [0.1, -0.05, 1.0]
    assert np.allclose(sent[:2], (whole[:2] - [100, 40]) / 2)
    assert camera_model(info(roi={'width': 640, 'height': 480}, binning_x=1, binning_y=1)).matrix.ravel().tolist() == K


@pytest.mark.parametrize(('roi', 'centre'), [
    ({'width': 640, 'height': 150}, [320.0, 240.0]), ({'x_offset': 440, 'width': 200, 'height': 480}, [-120.0, 240.0]),
    ({'x_offset': 560, 'y_offset': 440, 'width': 80, 'height': 40}, [-240.0, -200.0])])
def test_a_part_far_from_the_middle_keeps_its_calibration(roi, centre):
    assert camera_model(info(roi=roi)).matrix[:2, 2].tolist() == centre
    assert checked(camera_model(info(roi=roi))).matrix[:2, 2].tolist() == centre


def test_the_centre_of_the_whole_image_is_in_it_however_it_is_cut():
    far = [460.0, 0.0, 1000.0, 0.0, 461.0, 240.0, 0.0, 0.0, 1.0]
    for roi in ({}, {'x_offset': 440, 'width': 200, 'height': 480}):
        with pytest.raises(SegvladError, match='cx is 1000 pixels, far outside an image of 640'):
            camera_model(info(k=far, roi=roi))



def test_a_model_of_other_numbers_is_checked_alike():
    bad = CameraModel(640, 480, np.array(K).reshape(3, 3), np.ones(5), 'equidistant')
    with pytest.raises(SegvladError, match='equidistant has 4'):
        checked(bad)


def test_the_infos_of_a_recording_where_they_change():
    infos = CameraInfos()
    for second, content in ((1, b'a'), (2, b'a'), (3, b'b'), (4, b'b')):
        infos.add(second * 10**9, content, lambda content=content: content)
    asked = [0.5, 1.6, 2.0, 2.2, 2.8, 3.0, 3.5, 9.0]
    assert [infos.nearest(round(seconds * 10**9)) for seconds in asked] == [
        b'a', b'a', b'a', None, None, b'b', b'b', b'b']
