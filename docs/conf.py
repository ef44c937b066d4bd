"""The site of README.md and docs/: `make docs` builds it of the files as they stand, with the links that they have."""
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the source folder of Sphinx, so that links out of docs/ hold
PACKAGE = ET.parse(ROOT / 'package.xml').getroot()

project = PACKAGE.findtext('name')
release = version = PACKAGE.findtext('version')

extensions = ['myst_parser']
root_doc = 'README'
include_patterns = ['README.md', 'CONTRIBUTING.md', 'docs/*.md', 'benchmark/results/*.md']
exclude_patterns = ['.*', 'build', 'install', 'log', 'dist', 'shared', 'segvlad_ros', 'test', '*.egg-info']
myst_heading_anchors = 4  # as GitHub makes them, so that one link works in both
smartquotes = False  # '' is an empty string
html_theme = 'furo'
html_static_path = html_css_files = ['site.css']
html_title = f'{project} {release}'
html_show_sourcelink = html_copy_source = False

START = ['first_match', 'robot', 'bags', 'your_slam', 'baselines', 'fleet', 'reproduce', 'tuning', 'limits']
LOOK_UP = ['topics', 'parameters', 'messages', 'results', 'costs', 'architecture']
# a new page needs no entry here
USE = sorted({page.stem for page in (ROOT / 'docs').glob('*.md')} - {*START, *LOOK_UP})


def side_bar(caption: str, pages: list[str]) -> str:
    """One block of the list of pages.

    :param pages: names in docs/
    """
    return '\n'.join(['', '```{toctree}', ':hidden:', f':caption: {caption}', '', *(f'docs/{page}' for page in pages),
                      '```', ''])


def complete(_app, page: str, source: list[str]) -> None:
    """Add to the files what GitHub would show as text: the side bar, and that results are linked but not in it."""
    if page == root_doc:
        source[0] += side_bar('Start', START) + side_bar('Use', USE) + side_bar('Look up', LOOK_UP)
    elif not page.startswith('docs/'):
        source[0] = f'---\norphan: true\n---\n{source[0]}'


def setup(app) -> dict:
    """Sphinx's entry."""
    app.connect('source-read', complete)
    return {'parallel_read_safe': True}
