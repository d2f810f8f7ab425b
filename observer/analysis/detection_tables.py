# SPDX-License-Identifier: Apache-2.0
"""Detection, false verdicts and the observer's own faults, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.detection import against, by_fault, observer_faults, silence
from observer.analysis.document import DASH, Section, Table, figure, p_value, spread
from observer.analysis.order import CASES, DESIGNS, MAIN, OBSERVER_FAULTS, in_order
from observer.analysis.published import detection_of
from observer.analysis.statistics import Interval, least_p

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["detection_section", "observer_section", "silence_section"]


def _seen(row: Any) -> str:
    return f"{row.seen}/{row.runs}"


def _cell(row: Any) -> str:
    """`missed` is a word, never a number."""
    if row is None:
        return DASH
    if not row.seen:
        return "missed"
    some = "" if row.seen == row.runs else f" ({_seen(row)})"
    return f"{figure(row.median_ms)}{some}"


def _matrix(found: pd.DataFrame) -> Table:
    cells = {(r.design, r.case): r for r in found.itertuples()}
    cases, designs = in_order(found["case"], CASES), in_order(found["design"], DESIGNS)
    published = [detection_of(design) for design in designs]
    more = ("published",) if any(published) else ()
    rows = tuple(
        (
            design,
            *(_cell(cells.get((design, case))) for case in cases),
            *([said] if more else []),
        )
        for design, said in zip(designs, published, strict=True)
    )
    return Table(
        "Median over runs, in ms",
        ("design", *cases, *more),
        rows,
        (
            (
                f"`missed`: seen in no run. (3/5): seen in so many runs, the median is "
                f"theirs. {DASH}: not faced."
            ),
        ),
    )


def _beside(found: pd.DataFrame, pairs: pd.DataFrame) -> Table:
    """Everyone who saw a fault, beside ours."""
    ratios = {(r.design, r.case): r for r in pairs.itertuples()}
    rows, runs = [], [1]
    for r in found[found["seen"] > 0].itertuples():
        pair = ratios.get((r.design, r.case))
        interval = Interval(r.median_ms, r.low_ms, r.high_ms, r.seen)
        ratio = Interval(pair.ratio, pair.low, pair.high, 2) if pair else None
        runs.append(r.runs)
        rows.append(
            (
                r.case,
                r.design,
                _seen(r),
                spread(interval),
                spread(ratio) if ratio and figure(ratio.middle) != DASH else DASH,
                p_value(pair.p) if pair else DASH,
            )
        )
    most = max(runs)
    least = least_p(most, most)
    return Table(
        f"With 95 % intervals, and beside `{MAIN}`",
        ("fault", "design", "seen", "ms", f"times {MAIN}", "p"),
        tuple(rows),
        (
            (
                f"{len(pairs)} comparisons, p not corrected for their number; {most} "
                f"runs against {most} can give no p below {p_value(least)}, and none "
                f"below {p_value(min(1.0, least * len(pairs)))} if it were corrected "
                "(Holm)."
            ),
            (
                "In the test a run that missed counts with the time that was waited "
                "for it; in median and ratio it does not count."
            ),
        ),
    )


def detection_section(cases: pd.DataFrame, title: str, plot: str) -> Section | None:
    """Who sees what, how soon."""
    found = by_fault(cases)
    if found.empty:
        return None
    lead = (
        (
            "From the true moment of the fault's effect to the verdict, by one clock "
            "of the host's."
        ),
    )
    tables = (_matrix(found), _beside(found, against(cases, MAIN)))
    return Section(title, lead, tables, plot)


def silence_section(cases: pd.DataFrame) -> Section | None:
    """False verdicts."""
    found = silence(cases)
    if found.empty:
        return None
    rows = tuple(
        (
            *(r.design, str(r.runs), str(r.silent_cases), str(r.false)),
            r.in_cases or DASH,
            figure(r.hours),
            figure(r.at_most_per_hour),
            str(r.faults),
            str(r.beside_faults),
        )
        for r in found.itertuples()
    )
    columns = (
        *("design", "runs", "silent cases", "false verdicts", "in", "hours"),
        *("≤ an hour", "faults", "false beside faults"),
    )
    return Section(
        "False verdicts",
        (
            (
                "Silent cases are those in which nothing is broken, and in which a "
                "verdict is therefore false."
            ),
            (
                "They last some seconds each, `idle` and `load` half a minute: a rule "
                "that waits longer than that cannot err in them."
            ),
        ),
        (
            Table(
                "By design",
                columns,
                rows,
                (
                    (
                        "≤ an hour: where there was none, the upper end of a "
                        "one-sided 95 % interval (3 / hours); so few hours claim "
                        "little, `observer soak` is for more."
                    ),
                    (
                        "False beside faults: verdicts of another kind or on another "
                        "VM than the broken one, while it was broken."
                    ),
                ),
            ),
        ),
        "silence",
    )


def _passed(row: Any) -> str:
    if row is None:
        return DASH
    said = f", {row.false} false" if row.false else ""
    if row.unharmed == row.runs:
        return f"pass ({row.runs}/{row.runs}{said})"
    return f"fail ({row.unharmed}/{row.runs} unharmed{said})"


def observer_section(cases: pd.DataFrame) -> Section | None:
    """What comes of the observed when their observer dies or stands still."""
    found = observer_faults(cases)
    if found.empty:
        return None
    cells = {(r.design, r.case): r for r in found.itertuples()}
    rows = tuple(
        (design, *(_passed(cells.get((design, case))) for case in OBSERVER_FAULTS))
        for design in in_order(found["design"], DESIGNS)
    )
    return Section(
        "When the observer itself fails",
        (
            (
                "It is killed, and it is stopped, where it lives: in the guest, on the "
                "host, or in VMs of its own; pass: each guest answered an order while "
                "it was so, and none was to be reset, in every run."
            ),
            (
                "False: verdicts on the healthy guests meanwhile and afterwards; those "
                "of a watchdog device reset a guest, unless QEMU is told otherwise as "
                "it is here."
            ),
            (
                "Orbit counts its own isolation so: 8 of 8 observers that crashed "
                "harmed nobody (section 5.4)."
            ),
        ),
        (Table("Pass or fail", ("design", *OBSERVER_FAULTS), rows),),
    )
