"""Names of devices: what each means, and that a slip of the pen is told and not run on something else."""
import pytest

from segvlad_ros.io.devices import TENSORRT, check_device, runtime_providers, torch_device
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError

CUDA = 'CUDAExecutionProvider'


@pytest.mark.parametrize(('name', 'providers'), [
    ('cpu', [('CPUExecutionProvider', {})]),
    ('cuda', [(CUDA, {'device_id': '0'})]),
    ('cuda:1', [(CUDA, {'device_id': '1'})]),
    ('tensorrt', [(TENSORRT, {'device_id': '0'}), (CUDA, {'device_id': '0'})]),
    ('tensorrt:2', [(TENSORRT, {'device_id': '2'}), (CUDA, {'device_id': '2'})]),
])
def test_onnx_runtime_is_told_which_gpu(name, providers):
    assert runtime_providers(name) == providers


@pytest.mark.parametrize('name', ['', 'gpu', 'CUDA', 'cuda:', 'cuda:x', 'cuda:-1', 'cpu:0', ' cuda', 'cuda\n', 'rocm'])
def test_any_other_name_is_refused(name):
    with pytest.raises(SegvladError, match='use cpu, cuda or tensorrt'):
        runtime_providers(name)
    with pytest.raises(SegvladError, match='use cpu, cuda, or cuda:1'):
        torch_device(name)
    with pytest.raises(SegvladError, match='use cpu, cuda or tensorrt'):
        check_device(name)


def test_a_preset_without_networks_takes_any_device_but_no_slip_of_the_pen():
    assert build_describer(load_preset('classic'), 'cuda:7') is not None
    with pytest.raises(SegvladError, match="'cdua' is not a device; use cpu, cuda"):
        build_describer(load_preset('classic'), 'cdua')


@pytest.mark.parametrize('name', ['tensorrt', 'vulkan', 'meta', 'mps'])
def test_pytorch_is_asked_for_cpu_and_cuda_only(name):
    with pytest.raises(SegvladError, match=f"PyTorch is asked for device '{name}'; use cpu, cuda"):
        torch_device(name)
