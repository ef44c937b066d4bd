"""Pages of HTML: templates filled with text that is escaped, and with what this package draws itself."""
from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvlad_ros.evaluation.answers import OutcomeKind
from segvlad_ros.io.extras import import_base
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import SegvladError

_TEMPLATES = Path(__file__).parent / 'templates'


@dataclass(frozen=True)
class Chart:
    """One chart of a page.

    :ivar name: of a place in the page, for links
    :ivar alt: what it shows, for who cannot see it
    :ivar svg: markup of :mod:`segvlad_ros.evaluation.charts`
    :ivar caption: how it is to be read
    :ivar legend: whose colours it uses
    """

    name: str
    title: str
    alt: str
    svg: str
    caption: str
    wide: bool = False
    legend: Sequence[OutcomeKind] = ()


def check_drawing() -> None:
    """Find out before long work that no report can be made.

    :raises SegvladError: what to install
    """
    import_base('jinja2', 'reports')
    import_base('matplotlib', 'reports')


def write_filled(path: str | Path, template: str, script: str = '', **values: Any) -> None:
    """Write one page.

    Its policy lets a browser run the given script and load pictures, of the page or its folder, and nothing else.

    :param template: a file of templates/
    :param script: name of a file of templates/; '' for a page without
    :param values: of the template; all text in it is escaped
    :raises SegvladError: the file cannot be written, or Jinja2 is missing
    """
    jinja2 = import_base('jinja2', 'reports')
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    code = (_TEMPLATES / script).read_text(encoding='utf-8') if script else ''
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    page = environment.get_template(template).render(
        style=(_TEMPLATES / 'report.css').read_text(encoding='utf-8'), script=code,
        script_sources=f"'sha256-{digest}'" if script else "'none'", **values)
    try:
        with whole_file(path) as temporary:
            temporary.write_text(page, encoding='utf-8', errors='backslashreplace')
    except OSError as error:
        raise SegvladError(f'{path}: the report cannot be written ({error.strerror})') from None
