"""Write a figure into a file: PNG, SVG, PDF, HTML that needs no network, or its JSON."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.errors import ConfigError, MissingExtra
from evolvent.store.atomic_write import replacing
from evolvent.store.codec.strict_json import encode

try:
    import vl_convert
except ImportError as e:
    raise MissingExtra("figures in files need vl-convert: pip install 'evolvent[plot]'") from e

Spec: TypeAlias = Mapping[str, Any]

_SCALE = 2.0  # pixels of a PNG for each pixel of the figure
_VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
_PLACES = re.compile(r' (?:d|transform)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+(?![\de])")
_EXPORT = "window.vegaEmbed = vegaEmbed;"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 1em; background: {background}; }}</style>
<script type="text/javascript">
{script}
</script>
</head>
<body>
<div id="figure"></div>
<script type="text/javascript">
vegaEmbed("#figure", {spec}, {{
  actions: {{ export: true, source: false, compiled: false, editor: false }}
}}).catch(console.error);
</script>
</body>
</html>
"""


def save(chart: ChartType, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the ending of the path says how: .png, .svg, .pdf, .html or .json.

    The file is written aside and then renamed: there is never half of one.

    Raises:
        ConfigError: another ending.
        EvolventError: the file cannot be written.
    """
    content = check_format(path)(chart.to_dict())
    with replacing(path) as aside:
        aside.write_bytes(content)
    return Path(path)


def check_format(path: str | os.PathLike[str]) -> Callable[[Spec], bytes]:
    """Return what renders figures for a file of that name.

    Raises:
        ConfigError: its ending says none of the formats.
    """
    render = FORMATS.get(Path(path).suffix.lower())
    if render is None:
        raise ConfigError(
            f"file: got {os.fspath(path)!r}, wanted a name ending in {', '.join(FORMATS)}"
        )
    return render


def _svg(spec: Spec) -> bytes:
    drawn = str(vl_convert.vegalite_to_svg(encode(spec), vl_version=_VERSION))
    # a hundredth of a pixel is enough for every place, and marks are opaque anyway
    short = _PLACES.sub(lambda places: _DIGITS.sub(r"\1", places[0]), drawn)
    return short.replace(' opacity="1"/>', "/>").encode()


def _html(spec: Spec) -> bytes:
    # names come from users: none of them may end the script that they stand in
    safe = encode(spec).replace("<", "\\u003c")
    return _PAGE.format(
        title=html.escape(spec["description"]),
        background=spec["config"]["background"],
        script=vl_convert.javascript_bundle(_EXPORT, vl_version=_VERSION),
        spec=safe,
    ).encode()


FORMATS: Mapping[str, Callable[[Spec], bytes]] = {
    ".png": lambda spec: vl_convert.vegalite_to_png(encode(spec), _VERSION, scale=_SCALE),
    ".svg": _svg,
    ".pdf": lambda spec: vl_convert.vegalite_to_pdf(encode(spec), _VERSION),
    ".html": _html,
    ".json": lambda spec: encode(spec).encode(),
}
