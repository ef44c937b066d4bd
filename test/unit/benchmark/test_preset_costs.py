"""The table of what presets cost: all presets are in it, measured or not, and it is made of the committed numbers."""
import json

import preset_costs
import pytest
from preset_costs import (
    FILE,
    MOBILE_ONNX,
    PAGE,
    README,
    gpu_keyframes,
    merged,
    readme_with_table,
    rows,
    stages_page,
    uses_gpu,
    with_table,
)

from segvlad_ros.pipeline.presets import preset_names

EMPTY = {'reports': [], 'reasons': {}}


def report(preset, cpu='a CPU', describe=100.0, **changes):
    return {'preset': preset, 'device': 'cpu', 'machine': {'cpu': cpu, 'cores': 2, 'load_average': 0.5}, 'images': 30,
            'describe_ms_p50': describe, 'describe_ms_p95': 120.0, 'answer_ms_p50': 5.0, 'answer_ms_p95': 6.0,
            'stages': {'segments': 80.0, 'verify': 2.0}, 'peak_mb': 300.0, 'gpu_peak_mb': None,
            'bytes_per_keyframe': 40_000, **changes}


def test_the_pages_are_made_of_the_committed_numbers():
    content = json.loads(FILE.read_text())
    again = 'write them again: python benchmark/preset_costs.py --pages'
    lines = rows(content, gpu_keyframes())
    assert with_table(PAGE.read_text(), lines) == PAGE.read_text(), again
    assert readme_with_table(README.read_text(), lines) == README.read_text(), again
    assert stages_page(content) == FILE.with_suffix('.md').read_text(), again


def test_every_preset_has_a_row_and_says_where_nothing_was_measured():
    content = merged(EMPTY, {'classic': report('classic'), 'segvlad': 'weights are missing'}, 'cpu')
    table = rows(content, gpu_keyframes())
    assert {row[0] for row in table} == {*preset_names(), MOBILE_ONNX}
    assert [row[1:] for row in table if row[0] == 'classic'] == [
        ('a CPU, 2 cores', '100 (120)', '5.0 (6.0)', '300', '-', '40', '')]
    assert ('segvlad', 'cpu', *['not measured'] * 5, 'weights are missing') in table
    assert ('segvlad_fast', 'cuda', *['not measured'] * 5, '') in table
    assert [row[2] for row in table if row[1] == 'NVIDIA H100 80GB HBM3'] == ['284 (289)', '471 (474)']
    assert {name for name in preset_names() if not uses_gpu(name)} >= {'classic', 'orb_words', 'given'}
    page = with_table(PAGE.read_text(), table)
    assert '| classic | a CPU, 2 cores | 100 (120) | 5.0 (6.0) | 300 | - | 40 |  |' in page
    short = readme_with_table(README.read_text(), table)
    assert '| segvlad | cpu |' not in short
    assert '; `segvlad` on the CPU (weights are missing).\n' in short
    assert '`learned`, `segvlad_mobile`, `segvlad_mobile` from ONNX files on a GPU (not run there yet)' in short
    assert page.startswith('# What a preset costs')
    assert '| classic | a CPU, 2 cores | 30 | 80.0 | 2.0 |' in stages_page(content)


def test_a_new_measurement_takes_the_place_of_the_same_preset_on_the_same_processor_only():
    first = merged(EMPTY, {'classic': report('classic'), 'classic_image': report('classic_image'), 'anyloc': 'none'},
                   'cpu')
    second = merged(first, {'classic': report('classic', describe=50.0), 'anyloc': report('anyloc')}, 'cpu')
    other = merged(second, {'classic': report('classic', 'another CPU', 70.0)}, 'cpu')
    assert [(each['preset'], preset_costs.processor(each), each['describe_ms_p50']) for each in other['reports']] == [
        ('anyloc', 'a CPU, 2 cores', 100.0), ('classic', 'a CPU, 2 cores', 50.0),
        ('classic', 'another CPU, 2 cores', 70.0), ('classic_image', 'a CPU, 2 cores', 100.0)]
    assert other['reasons'] == {}


def test_numbers_of_a_busy_machine_say_so():
    busy = report('classic')
    busy['machine']['load_average'] = 9.0
    row, = (row for row in rows({'reports': [busy], 'reasons': {}}, []) if row[0] == 'classic')
    assert row[-1] == 'measured beside other work'


def test_a_preset_that_cannot_run_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('XDG_DATA_HOME', raising=False)
    assert preset_costs.measured('segvlad', 'cpu', 1) == (
        'segmenter.weights ~/.local/share/segvlad/weights/sam_vit_h_4b8939.pth does not exist: get it with "segvlad '
        'weights fetch sam_vit_h"')
    assert preset_costs.measured(MOBILE_ONNX, 'cpu', 1).startswith('segmenter.weights ~/.local/share/segvlad/weights/')
    with pytest.raises(RuntimeError, match='ended with'):
        monkeypatch.setattr(preset_costs.sys, 'executable', '/bin/false')
        preset_costs.measured('segvlad', 'cpu', 1)
