"""Presets: what is read, what is refused and with which words, what the fingerprint covers."""
from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from segvlad_ros.pipeline.builders import build_describer, build_matcher, build_recognizer
from segvlad_ros.pipeline.presets import config_directory, load_preset, preset_names
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.verification_settings import VerificationSettings

SMALL = {
    'name': 'small',
    'image': {'width': 320, 'height': 240},
    'segmenter': {'kind': 'patches', 'rows': 2, 'cols': 3},
    'features': {'kind': 'root_sift', 'cell': 16, 'bin_sizes': [4, 8], 'min_gradient': 1.0},
    'vocabulary': 'words.npz',
    'projection': {'kind': 'seeded', 'dimension': 64},
    'neighbourhood': {'order': 1},
    'decision': {'min_score': 0.2, 'max_ambiguity': 0.9},
}


@pytest.fixture
def preset_file(tmp_path):
    np.savez(tmp_path / 'words.npz', centres=np.random.default_rng(0).random((4, 256), np.float32))
    path = tmp_path / 'small.yaml'
    path.write_text(yaml.safe_dump(SMALL))
    return path


def with_value(preset_file, dotted, value):
    """The path of a copy of the preset with one value replaced."""
    content = yaml.safe_load(preset_file.read_text())
    *sections, key = dotted.split('.')
    inner = content
    for section in sections:
        inner = inner[section]
    inner[key] = value
    path = preset_file.with_name('changed.yaml')
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize('name', preset_names())
def test_shipped_presets_are_valid_and_called_like_their_file(name):
    assert load_preset(name).name == name


def test_classic_is_shipped_complete():
    preset = load_preset('classic')
    assert preset.vocabulary.is_file()
    assert build_describer(preset).dimension == preset.projection.dimension


def test_preset_by_path_builds_a_describer(preset_file):
    preset = load_preset(preset_file)
    assert (preset.segmenter.rows, preset.segmenter.cols) == (2, 3)
    assert preset.search.neighbours == 50  # a default
    image = np.random.default_rng(1).integers(0, 255, (100, 120, 3), np.uint8)
    description = build_describer(preset).describe(image)
    assert description.descriptors.shape == (6, 64)


def test_vocabulary_is_relative_to_the_file_and_overrides_to_the_working_directory(preset_file, tmp_path, monkeypatch):
    assert load_preset(preset_file).vocabulary == tmp_path / 'words.npz'
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_preset(preset_file, {'vocabulary': 'mine.npz'}).vocabulary == elsewhere / 'mine.npz'


def test_paths_of_a_whole_section_are_relative_to_the_working_directory_too(preset_file, tmp_path, monkeypatch):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    sections = {'projection': {'kind': 'file', 'path': './pca.npz'}, 'features': {'kind': 'xfeat', 'weights': 'x.onnx'}}
    preset = load_preset(preset_file, sections)
    assert (preset.projection.path, preset.features.weights) == (elsewhere / 'pca.npz', elsewhere / 'x.onnx')
    fetched = load_preset(preset_file, {'features': {'kind': 'xfeat', 'weights': 'weights:xfeat'}})
    assert fetched.features.weights.is_absolute() and fetched.features.weights.parent != elsewhere


def test_override_of_a_kind_replaces_the_section(preset_file):
    preset = load_preset(preset_file, {'projection.dimension': 32, 'projection.kind': 'seeded',
                                       'segmenter.kind': 'patches', 'segmenter.rows': 1, 'segmenter.cols': 1})
    assert preset.projection.dimension == 32
    assert preset.segmenter.rows == 1
    assert load_preset(preset_file, {'projection.kind': 'none'}).projection.kind == 'none'


@pytest.mark.fault('parameter', 'a preset with an unknown key or a wrong value', 'named, with what was meant')
@pytest.mark.parametrize(('dotted', 'value', 'words'), [
    ('wibble', 1, "unknown key 'wibble'"),
    ('image.widht', 640, "did you mean 'width'"),
    ('image.width', 'wide', 'image.width is'),
    ('image.width', 3, 'from 32 to 4096'),
    ('image.width', True, 'a whole number'),
    ('image.width', 640.5, 'a whole number'),
    ('image', [1, 2], 'must be a section'),
    ('segmenter.kind', 'magic', 'felzenszwalb, graph, patches, sam'),
    ('segmenter', None, 'segmenter.kind'),
    ('segmenter.kind', {'graph': 1}, 'segmenter.kind is'),
    ('features.bin_sizes', [], 'features.bin_sizes'),
    ('features.bin_sizes', [4, 'x'], 'features.bin_sizes'),
    ('features.bin_sizes', 4, 'give a list'),
    ('decision.min_score', 1.5, 'from 0 to 1'),
    ('decision.min_score', float('nan'), 'decision.min_score'),
    ('decision.min_score', 10 ** 400, 'decision.min_score'),
    ('vocabulary', '~nobody-of-this-name/words.npz', "~ is nobody's home here"),
    ('decision.agreement', 0, 'decision.agreement'),
    ('neighbourhood.rule', 'best', 'robust, reference'),
    ('vocabulary', 7, 'vocabulary'),
    ('name', None, 'name'),
])
def test_wrong_values_are_named(preset_file, dotted, value, words):
    with pytest.raises(SegvladError, match=words) as refusal:
        load_preset(with_value(preset_file, dotted, value))
    assert '\n' not in str(refusal.value)
    assert 'changed.yaml' in str(refusal.value)


def test_a_list_may_be_empty_where_it_is_so_by_default():
    """XFeat without RootSIFT beside it."""
    alone = load_preset('learned', {'features.bin_sizes': []})
    assert alone.features.bin_sizes == ()
    assert load_preset('learned').features.bin_sizes == (16, 32)


def test_thresholds_of_geometry_are_read_and_checked(preset_file):
    preset = load_preset(preset_file, {'geometry.max_distance_m': 1.5, 'geometry.min_metric_inliers': 20})
    assert preset.geometry == VerificationSettings(max_distance_m=1.5, min_metric_inliers=20)
    with pytest.raises(SegvladError, match='geometry.max_angle_rad is 60: give a number from 0 to 3.14'):
        load_preset(preset_file, {'geometry.max_angle_rad': 60})


def test_missing_required_key_is_named(preset_file):
    content = yaml.safe_load(preset_file.read_text())
    del content['decision']['min_score']
    preset_file.write_text(yaml.safe_dump(content))
    with pytest.raises(SegvladError, match=r"missing key 'decision\.min_score'.*from 0 to 1"):
        load_preset(preset_file)


@pytest.mark.fault('parameter', 'a file that is not a preset', 'one line')
@pytest.mark.parametrize('content', [
    b'', b'just text', b'- a\n- b', b'{a: [', b'\xff\xfe\x00', b'!!python/object:os.x 1', b'a: ' + b'7' * 5000,
    b'[' * 5000])
def test_files_that_are_no_presets(tmp_path, content):
    path = tmp_path / 'bad.yaml'
    path.write_bytes(content)
    with pytest.raises(SegvladError, match=r'bad\.yaml') as refusal:
        load_preset(path)
    assert '\n' not in str(refusal.value)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(SegvladError, match="unknown preset 'clasic'.*classic"):
        load_preset('clasic')
    with pytest.raises(SegvladError, match='no such file'):
        load_preset(tmp_path / 'nothing.yaml')


def test_preset_without_vocabulary_says_how_to_make_one(preset_file):
    preset = load_preset(with_value(preset_file, 'vocabulary', None))
    with pytest.raises(SegvladError, match='segvlad fit vocabulary'):
        build_describer(preset)


def test_fingerprint_covers_what_changes_a_descriptor_and_nothing_else(preset_file):
    original = load_preset(preset_file).fingerprint()
    assert original == load_preset(preset_file).fingerprint()
    for dotted, value in [('image.width', 640), ('segmenter.rows', 3), ('features.min_gradient', 2.0),
                          ('projection.seed', 5), ('neighbourhood.order', 2)]:
        changed = load_preset(with_value(preset_file, dotted, value)).fingerprint()
        assert {name for name in original if original[name] != changed[name]} == {dotted, 'digest'}
    for dotted, value in [('name', 'other'), ('decision.min_score', 0.9), ('search', {'neighbours': 3})]:
        assert load_preset(with_value(preset_file, dotted, value)).fingerprint() == original


def test_fingerprint_is_the_same_whatever_is_installed(monkeypatch):
    """A robot without the extras, or with OpenCV without its contrib modules, has the maps of one with them."""
    classic = load_preset('classic')
    presets = [replace(classic, segmenter=replace(classic.segmenter, kind=kind)) for kind in ('felzenszwalb', 'graph')]
    before = [preset.fingerprint() for preset in presets]
    monkeypatch.delattr(cv2, 'ximgproc')
    for module in ('skimage', 'torch', 'onnxruntime', 'faiss'):
        monkeypatch.setitem(sys.modules, module, None)
    assert [preset.fingerprint() for preset in presets] == before
    assert before[0]['digest'] != before[1]['digest']


def test_fingerprint_names_keypoints_that_are_not_sift(tmp_path):
    (tmp_path / 'xfeat.onnx').write_bytes(b'weights')
    weights = {'features.weights': str(tmp_path / 'xfeat.onnx')}
    learned, sift = (load_preset('learned', {**weights, 'keypoints': kind}).fingerprint() for kind in ('xfeat', 'sift'))
    assert learned['keypoints'] == 'xfeat' and 'keypoints' not in sift and learned['digest'] != sift['digest']
    classic = load_preset('classic')  # as its maps of before there was a choice have it
    assert 'keypoints' not in classic.fingerprint()


def test_keypoints_of_a_pass_that_is_not_there_are_refused(preset_file):
    with pytest.raises(SegvladError, match='keypoints: xfeat are found by features.kind xfeat only'):
        load_preset(with_value(preset_file, 'keypoints', 'xfeat'))
    with pytest.raises(SegvladError, match='keypoints'):
        load_preset(with_value(preset_file, 'keypoints', 'surf'))


LIGHTERGLUE = {'geometry.matcher': 'lighterglue'}


def test_a_matcher_of_other_keypoints_is_refused(preset_file):
    with pytest.raises(SegvladError, match='lighterglue takes keypoints of xfeat only'):
        load_preset(preset_file, LIGHTERGLUE)
    with pytest.raises(SegvladError, match='geometry.matcher .*nearest, lighterglue'):
        load_preset(preset_file, {'geometry.matcher': 'superglue'})


def test_another_matcher_has_the_maps_and_not_the_calibration(tmp_path, caplog):
    (tmp_path / 'xfeat.onnx').write_bytes(b'weights')
    (tmp_path / 'lighterglue.onnx').write_bytes(b'weights')
    weights = {'features.weights': str(tmp_path / 'xfeat.onnx'), 'calibration': 'shipped.json',
               'geometry.weights': str(tmp_path / 'lighterglue.onnx')}
    nearest, learned = (load_preset('learned', {**weights, **more}) for more in ({}, LIGHTERGLUE))
    assert nearest.fingerprint() == learned.fingerprint()
    digests = [nearest.fingerprint()['digest'], nearest.evidence_digest(), learned.evidence_digest()]
    assert digests[0] == digests[1] != digests[2]
    (tmp_path / 'lighterglue.onnx').write_bytes(b'others')
    assert (nearest.evidence_digest(), learned.evidence_digest() == digests[2]) == (digests[1], False)
    shipped = load_preset('learned', LIGHTERGLUE)
    assert shipped.calibration is None and 'geometry.matcher shapes' in caplog.text


def test_what_a_matcher_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    with pytest.raises(SegvladError, match='geometry.weights .*lighterglue.onnx does not exist: .* lighterglue'):
        build_recognizer(load_preset('learned', LIGHTERGLUE))
    with pytest.raises(SegvladError, match='leaves geometry.weights to you'):
        build_matcher(VerificationSettings(matcher='lighterglue'))
    (tmp_path / 'lighterglue.onnx').write_bytes(b'weights')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(SegvladError, match='onnxruntime cannot be imported .*the extra "onnx"'):
        build_matcher(VerificationSettings(matcher='lighterglue', weights=tmp_path / 'lighterglue.onnx'))


def test_fingerprint_follows_the_content_of_files_not_their_place(preset_file, tmp_path):
    original = load_preset(preset_file).fingerprint()
    moved = tmp_path / 'moved'
    moved.mkdir()
    shutil.copy(tmp_path / 'words.npz', moved)
    shutil.copy(preset_file, moved)
    assert load_preset(moved / 'small.yaml').fingerprint() == original
    np.savez(tmp_path / 'words.npz', centres=np.ones((4, 256), np.float32))
    assert load_preset(preset_file).fingerprint()['vocabulary'] != original['vocabulary']


def test_fingerprint_of_a_missing_file_is_refused(preset_file, tmp_path):
    (tmp_path / 'words.npz').unlink()
    with pytest.raises(SegvladError, match=r'words\.npz'):
        load_preset(preset_file).fingerprint()


def test_presets_are_found_below_an_installation_prefix(tmp_path, monkeypatch):
    package = tmp_path / 'local/lib/python3.12/dist-packages/segvlad_ros'
    shutil.copytree(config_directory(), tmp_path / 'local/share/segvlad_ros/config')
    monkeypatch.setattr('segvlad_ros.__file__', str(package / '__init__.py'))
    assert config_directory() == tmp_path / 'local/share/segvlad_ros/config'
    assert load_preset('classic').name == 'classic'


@pytest.mark.fault('parameter', 'weights or a vocabulary that are missing', 'one line with the command that gets them')
@pytest.mark.parametrize(('name', 'overrides', 'words'), [
    ('segvlad', {}, 'segvlad weights fetch vocabulary_indoor'),
    ('segvlad', {'vocabulary': '{words}'}, 'segvlad weights fetch dinov2_vitg14'),
    ('segvlad_finetuned', {}, 'segvlad fit vocabulary IMAGES --preset segvlad_finetuned'),
    ('segvlad_finetuned', {'vocabulary': '{words}'}, 'features.weights=FILE'),
    ('segvlad_fast', {}, 'segvlad fit vocabulary IMAGES --preset segvlad_fast'),
    ('anyloc', {'vocabulary': 'weights:vocabulary_urban'}, 'segvlad weights fetch vocabulary_urban'),
])
def test_what_has_to_be_brought_is_named_with_the_command(preset_file, monkeypatch, name, overrides, words):
    monkeypatch.setenv('XDG_DATA_HOME', str(preset_file.parent))
    overrides = {key: value.format(words=preset_file.parent / 'words.npz') for key, value in overrides.items()}
    with pytest.raises(SegvladError, match=words) as refusal:
        build_describer(load_preset(name, overrides))
    assert '\n' not in str(refusal.value)


def test_unknown_weights_name_is_refused(preset_file):
    with pytest.raises(SegvladError, match='vocabulary_indoor'):
        load_preset(preset_file, {'vocabulary': 'weights:vocabulary_indor'})


@pytest.mark.parametrize(('key', 'value', 'decides'), [
    ('min_score', 0.9, 'only which candidates support'), ('agreement', 5, 'nothing'),
    ('agreement_proven', 5, 'nothing')])
def test_a_setting_that_no_longer_decides_is_said(caplog, key, value, decides):
    load_preset('classic', {f'decision.{key}': value})
    assert f'decision.{key} decides {decides}' in caplog.text and 'min_probability' in caplog.text
    caplog.clear()
    load_preset('classic', {f'decision.{key}': value, 'decision.min_probability': 0.0})
    load_preset('classic', {f'decision.{key}': value, 'calibration': None})
    load_preset('classic_patches', {f'decision.{key}': value})
    load_preset('classic', {'decision.min_probability': 0.9, 'decision.misses': 2})
    load_preset('classic', {'decision.min_proven_score': 0.9})  # geometry is not asked below it
    assert not caplog.text


@pytest.mark.parametrize('turned', [1, -1])
def test_a_section_beside_one_of_its_values_is_refused(turned):
    overrides = [('search', {'neighbours': 3}), ('search.neighbours', 7)][::turned]
    with pytest.raises(SegvladError, match='beside the whole section search'):
        load_preset('classic', dict(overrides))
