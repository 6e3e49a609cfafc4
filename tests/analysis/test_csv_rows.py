"""CSV comes back as it was written, whatever the cells hold."""

from __future__ import annotations

import csv
import io

import pytest

from evolvent.analysis.csv_rows import row_writer
from tests.needs import needs

ODD = [
    "a\rb",
    "\r",
    "a\r\nb",
    "\n",
    "a,b",
    'say "hi"',
    "",
    "NA",
    "=1+1",
    "\ufeffx",
    "a\u2028b",
    " x ",
]


def written() -> str:
    text = io.StringIO()
    write = row_writer(text)
    write(["id", "text"])
    for number, odd in enumerate(ODD):
        write([number, odd])
    return text.getvalue()


def test_every_text_comes_back() -> None:
    rows = list(csv.reader(io.StringIO(written(), newline="")))
    assert rows == [["id", "text"], *([str(n), odd] for n, odd in enumerate(ODD))]


@pytest.mark.parametrize("engine", ["c", "python"])
def test_pandas_reads_it_back(engine: str) -> None:
    pandas = needs("pandas")
    table = pandas.read_csv(io.StringIO(written()), keep_default_na=False, engine=engine)
    assert table["text"].tolist() == ODD


def test_lines_end_as_everywhere_else() -> None:
    assert written().startswith("id,text\n0,")
