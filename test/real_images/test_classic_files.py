"""What the classic preset ships comes from the training images, and from no image that anything is measured on."""
import hashlib
from pathlib import Path

from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import config_directory, load_preset


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed() -> dict[str, str]:
    lines = (config_directory() / 'classic' / 'training_images.txt').read_text().splitlines()
    return {name: value for value, name in (line.split() for line in lines if not line.startswith('#'))}


def test_training_images_are_those_listed(data):
    assert {path.name: digest(path) for path in (data / 'training').glob('*.jpg')} == listed()


def test_no_evaluation_image_was_used(data):
    measured = [path for folder in ('corridor', 'hololens_office', 'rtabmap_corridor_loop')
                for path in (data / folder).rglob('*.jpg')]
    assert len(measured) > 600
    assert not {digest(path) for path in measured} & set(listed().values())


def test_shipped_files_fit_each_other_and_are_small():
    describer = build_describer(load_preset('classic'))
    assert describer.dimension == 512
    assert sum(path.stat().st_size for path in (config_directory() / 'classic').iterdir()) < 4_000_000
