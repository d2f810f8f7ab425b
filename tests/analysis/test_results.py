# SPDX-License-Identifier: Apache-2.0
"""RESULTS.md and the page say all that was measured, and nothing else."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from synthetic_runs import write_detection, write_overhead

from observer.analysis.document import Document, Section, Table, figure, spread
from observer.analysis.markdown import markdown, write_text
from observer.analysis.page import html, pictures
from observer.analysis.picture import svg
from observer.analysis.published import PUBLISHED
from observer.analysis.results import document, read_study
from observer.analysis.run_facts import RUN_FILE
from observer.analysis.statistics import Interval
from observer.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

    from observer.analysis.results import Study


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (1, "1.00"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-0.5, "-0.500"),
        (float("nan"), "–"),  # noqa: RUF001 - the dash itself
        (None, "–"),  # noqa: RUF001 - likewise
    ],
)
def test_a_figure_has_three_digits(value: float | None, said: str) -> None:
    """What is not known is a dash."""
    assert figure(value) == said


def test_an_interval_stands_beside_its_figure() -> None:
    """One run has none."""
    assert spread(Interval(12.3, 11, 14.1, 5)) == "12.3 [11.0, 14.1]"
    assert spread(Interval(12.3, 12.3, 12.3, 1)) == "12.3"


def test_it_is_told_that_it_is_generated_and_from_what(results: Document) -> None:
    """In the first line; then commit, host, seeds, how many runs of each design."""
    text = markdown(results)

    assert "do not edit" in text.splitlines()[0]
    assert "Commit: 0123456789ab." in text
    assert "Linux 6.12.43+deb13-amd64, 4 CPUs" in text
    assert "its figures compare designs on the same host" in text
    assert "| detection | pvpanic | 3 | 3 | latency | 101, 102, 103 |" in text


def test_that_commits_are_mixed_is_told_of_the_experiment(tmp_path: Path) -> None:
    """Two experiments of a commit each compare nothing with each other."""
    for design in ("none", "sleeping"):
        write_detection(tmp_path, 1, design)
        write_overhead(tmp_path, 1, design)
    for path in (tmp_path / "overhead").glob(f"*/{RUN_FILE}"):
        path.write_text(path.read_text().replace("0123456789ab", "cafe"))
    assert "mixed" not in " ".join(document(read_study([tmp_path])).lead)
    path = tmp_path / "detection/01-none" / RUN_FILE
    path.write_text(path.read_text().replace("0123456789ab", "feed"))

    assert "mixed in detection:" in " ".join(document(read_study([tmp_path])).lead)


def test_what_was_missed_is_a_word_and_what_does_not_hold_is_told(
    results: Document,
) -> None:
    """None sees nothing; pvpanic is sooner on a panic."""
    text = markdown(results)

    assert "| none | missed | missed |" in text
    assert "**does not hold** | guest-panic: pvpanic" in text


def test_what_others_published_stands_beside_with_where(results: Document) -> None:
    """All of it, with what differs."""
    text = markdown(results)

    assert len(PUBLISHED) > 15
    for published in PUBLISHED:
        assert all(published)
        assert f"| {published.value} | {published.where} |" in text


def test_all_sections_are_there(results: Document) -> None:
    """In the order in which they are asked for."""
    assert [section.title for section in results.sections] == [
        "What holds",
        "What was run",
        "Detection",
        "False verdicts",
        "When the observer itself fails",
        "Cost",
        "Detection of a service's failures",
        "Implicit against explicit heartbeats",
        "Cost beside a service",
        "Latency of a client's requests",
        "Overhead by workload",
        "Scale",
        "Trade-off: what a shorter limit costs",
        "What others published",
        "How to read this",
    ]


def test_a_table_is_as_wide_as_its_head(results: Document) -> None:
    """In each of its rows."""
    for section in results.sections:
        for table in section.tables:
            assert {len(row) for row in table.rows} <= {len(table.columns)}, table.title


def test_one_run_is_enough_and_what_is_absent_is_told(tmp_path: Path) -> None:
    """Notes that were written by hand are taken in."""
    write_detection(tmp_path, 1, "sleeping")
    (tmp_path / "notes.md").write_text("# Title\n\nWhy it is so.\n")
    study = read_study([tmp_path])
    text = markdown(document(study))

    assert "Why it is so." in text
    assert "No trade-off curve" in text
    assert "## Scale" not in text
    assert "| sleeping: less CPU time than polling-100ms | not measured |" in text
    assert html(document(study), pictures(study))


class Links(HTMLParser):
    """What a page would fetch, and what it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.anchors: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data"):
                self.sources.append(value)
            elif name == "href":
                self.anchors.append(value)


def test_the_page_needs_nothing_else(study: Study, results: Document) -> None:
    """No script, no network; each picture is inside of it."""
    page = html(results, pictures(study))
    links = Links()
    links.feed(page)

    assert len(links.sources) == 8
    assert all(s.startswith("data:image/svg+xml;base64,") for s in links.sources)
    assert all(a.startswith("#s") for a in links.anchors)
    assert not {"script", "link", "iframe"} & set(links.tags)
    assert "url(" not in page


def test_a_picture_is_the_same_for_the_same_data(study: Study) -> None:
    """Byte for byte, so that a page that changed has other data."""
    draw = pictures(study)["scale"]

    assert svg(draw()) == svg(draw())


def test_what_is_markup_is_shown_as_it_is() -> None:
    """Evidence may hold anything."""
    table = Table("t", ("a",), (("<b> | `c`",),))
    some = Document("d", (), (Section("s", tables=(table,)),))

    assert "&lt;b&gt; | <code>c</code>" in html(some, {})
    assert "| <b> \\| `c` |" in markdown(some)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """And is told in a sentence."""
    path = tmp_path / "RESULTS.md"
    write_text(path, "old")
    (tmp_path / "RESULTS.md.part").symlink_to("/dev/full")

    with pytest.raises(HostError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
