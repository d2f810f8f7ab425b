# SPDX-License-Identifier: Apache-2.0
"""A document as one HTML page that needs nothing else: pictures are inside of it."""

from __future__ import annotations

import base64
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from observer.analysis import plots, tradeoff
from observer.analysis.document import DASH
from observer.analysis.order import OUR_CARE, OURS
from observer.analysis.picture import svg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from matplotlib.figure import Figure

    from observer.analysis.document import Document, Section, Table
    from observer.analysis.results import Study

__all__ = ["html", "pictures"]

STYLE = """\
:root { color-scheme: light; }
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 72rem; color: #28323c;
  background: #fff; font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 2rem; margin: 0 0 .5rem; line-height: 1.2; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid #e3e6ea; }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { margin: .25rem 0; max-width: 48rem; }
nav { columns: 16rem; margin: 1.5rem 0; font-size: .9rem; }
nav a { display: block; color: #3b6ea5; text-decoration: none; padding: .1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem;
  font-variant-numeric: tabular-nums; }
th { text-align: left; background: #f4f6f8; white-space: nowrap; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e3e6ea; vertical-align: top; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
tr.ours td { background: #fdf3ec; }
.note { color: #66717c; font-size: .85rem; }
.no { color: #b42318; font-weight: 600; }
.missed { color: #9aa3ad; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
code { background: #f4f6f8; padding: 0 .2em; border-radius: 3px; }
"""
LONG = 40


def pictures(study: Study) -> Mapping[str, Callable[[], Figure]]:
    """By the name that a section calls them."""
    runs = study.runs
    cases = runs.of("cases", "detection")
    return {
        "detection": lambda: plots.detection_plot(cases),
        "services": lambda: plots.detection_plot(runs.of("cases", "services")),
        "silence": lambda: plots.silence_plot(cases),
        "cost": lambda: plots.cost_plot(runs.of("cost", "detection")),
        "latency": lambda: plots.latency_plot(runs.of("requests", "detection"), cases),
        "overhead": lambda: plots.overhead_plot(runs.of("workload", "overhead")),
        "recovery": lambda: plots.recovery_plot(study.recovery),
        "scale": lambda: plots.scale_plot(runs.of("scale", "scale")),
        "tradeoff": lambda: plots.tradeoff_plot(tradeoff.frame_of(study.recordings)),
    }


def _words(text: str) -> str:
    """Escaped; `words` between backticks are code, and ** is a warning."""
    parts = escape(text).split("`")
    said = "".join(
        f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)
    )
    pieces = said.split("**")
    return "".join(
        f'<span class="no">{piece}</span>' if i % 2 else piece
        for i, piece in enumerate(pieces)
    )


def _cell(text: str) -> str:
    kind = "long" if len(text) > LONG else "missed" if text in ("missed", DASH) else ""
    name = f' class="{kind}"' if kind else ""
    return f"<td{name}>{_words(text)}</td>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{_words(table.title)}</h3>"
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{_words(column)}</th>" for column in table.columns)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        name = ' class="ours"' if set(row[:2]) & {*OURS, *OUR_CARE} else ""
        yield f"<tr{name}>{''.join(map(_cell, row))}</tr>"
    yield "</tbody></table></div>"
    yield from (f'<p class="note">{_words(note)}</p>' for note in table.notes)


def _section(
    number: int, section: Section, drawn: Mapping[str, Callable[[], Figure]]
) -> Iterator[str]:
    yield f'<h2 id="s{number}">{_words(section.title)}</h2>'
    yield from (f"<p>{_words(line)}</p>" for line in section.lead)
    if section.plot in drawn:
        data = base64.b64encode(svg(drawn[section.plot]())).decode()
        said = escape(f"Plot: {section.title}; the same data stand in the tables below")
        yield f'<img alt="{said}" src="data:image/svg+xml;base64,{data}">'
    for table in section.tables:
        yield from _table(table)
    yield from (f'<p class="note">{_words(note)}</p>' for note in section.notes)


def html(document: Document, drawn: Mapping[str, Callable[[], Figure]]) -> str:
    """The whole page."""
    out = StringIO()
    out.write('<!doctype html><html lang="en"><head><meta charset="utf-8">')
    out.write('<meta name="viewport" content="width=device-width, initial-scale=1">')
    title = escape(document.title)
    out.write(f"<title>{title}</title><style>{STYLE}</style></head><body>\n")
    out.write(f"<h1>{title}</h1>\n")
    out.writelines(f"<p>{_words(line)}</p>\n" for line in document.lead)
    out.write("<nav>")
    out.writelines(
        f'<a href="#s{number}">{_words(section.title)}</a>'
        for number, section in enumerate(document.sections)
    )
    out.write("</nav>\n")
    for number, section in enumerate(document.sections):
        out.writelines(f"{line}\n" for line in _section(number, section, drawn))
    out.write("</body></html>\n")
    return out.getvalue()
