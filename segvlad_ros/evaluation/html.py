"""The HTML page that every report is made of: one file, no scripts."""
from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template

from segvlad_ros.types import SegvladError

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 1100px; color: #222; }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid #ddd; padding: 6px; vertical-align: top; }
img { width: 220px; display: block; }
.correct { background: #eef8ee; } .wrong { background: #fbecec; }
small { color: #666; }
</style>
</head>
<body>
<h1>$title</h1>
<pre>$numbers</pre>
$body
</body>
</html>
""")


def write_report(path: str | Path, title: str, numbers: str, body: str) -> None:
    """Write a page.

    :param title, numbers: text, escaped here
    :param body: markup, in which the caller has escaped what comes from the data
    :raises SegvladError: the file cannot be written
    """
    page = _PAGE.substitute(title=escape(title), numbers=escape(numbers), body=body)
    try:
        Path(path).write_text(page, encoding='utf-8')
    except OSError as error:
        raise SegvladError(f'{path}: the report cannot be written ({error.strerror})') from None
