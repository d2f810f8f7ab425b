# SPDX-License-Identifier: Apache-2.0
"""Pictures of the results; one dot is one run.

Figures are made without pyplot, so that nothing global is touched and no display asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis import cost, detection, growth, latency, overhead
from observer.analysis.order import CASES, DESIGNS, OUR_CARE, OURS, in_order
from observer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "cost_plot",
    "detection_plot",
    "latency_plot",
    "overhead_plot",
    "recovery_plot",
    "scale_plot",
    "silence_plot",
    "tradeoff_plot",
]

OURS_COLOUR, THEIRS_COLOUR, MISSED_COLOUR = "#c2410c", "#3b6ea5", "#9aa3ad"
SERIES = ("#3b6ea5", "#c2410c", "#4d8c57", "#8a5aa8", "#b08900")
GRID, INK = "#e3e6ea", "#28323c"
ROW_INCHES, FRAME_INCHES = 0.22, 0.75
WIDTH_INCHES = 10.0
JITTER, PAD_INCHES = 0.22, 0.08
NARROW, MARGIN_SHARE = 30.0, 0.16


def figure(width: float, height: float) -> Figure:
    """An empty one; UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure as Made
    except ImportError as e:
        raise UsageError(
            "Plots need matplotlib: pip install 'kvm-observer[analysis]'."
        ) from e
    made = Made(figsize=(width, height), layout="constrained", facecolor="white")
    made.set_layout_engine("constrained", h_pad=PAD_INCHES, w_pad=PAD_INCHES)
    return made


def _plain(axes: Axes, title: str, label: str = "") -> None:
    """What all have in common."""
    axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel(label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.grid(axis="both", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def colour_of(design: str) -> str:
    """Ours stand out."""
    return OURS_COLOUR if design in (*OURS, *OUR_CARE) else THEIRS_COLOUR


def _logarithmic(axes: Axes) -> None:
    """With 1, 10, 100 as words rather than powers; 2 and 5 where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    subs = (1, 2, 5) if high < NARROW * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _almost_logarithmic(axes: Axes) -> None:
    """Upwards, where 0 is a figure too."""
    from matplotlib.ticker import FuncFormatter

    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    _, top = axes.get_ylim()
    axes.set_ylim(-0.1, 2 * top)  # a twentieth of a linear axis is no room here


def _designs(axes: Axes, designs: Sequence[str]) -> None:
    """As rows, the first on top; a grid line for each."""
    axes.set_yticks(range(len(designs)), labels=designs)
    for label, design in zip(axes.get_yticklabels(), designs, strict=False):
        mine = colour_of(design) == OURS_COLOUR
        label.set_color(OURS_COLOUR if mine else INK)
    axes.set_ylim(len(designs) - 0.5, -0.5)


def _dots(axes: Axes, row: float, values: Any, colour: str, marker: str = "o") -> None:
    """One for each run, apart so that equal ones are seen, and their median."""
    values = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    if not values:
        return
    middle = (len(values) - 1) / 2 or 1
    places = [row + JITTER * (i - middle) / middle for i in range(len(values))]
    if len(values) == 1:
        places = [row]
    axes.plot(
        values, places, marker, color=colour, alpha=0.75, ms=4, mec="white",
        mew=0.4,
    )  # fmt: skip


def _panels(count: int, rows: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """As many as there are, each with this many rows."""
    columns = min(columns, count)
    lines = -(-count // columns)
    high = lines * (rows * ROW_INCHES + FRAME_INCHES)
    made = figure(WIDTH_INCHES, high)
    grid = made.subplots(lines, columns, squeeze=False, sharey=True)
    axes = list(grid.flat)
    for left in axes[count:]:
        left.set_visible(False)
    return made, axes[:count]


def _share_x(axes: Sequence[Axes], *, margin: bool = False) -> None:
    """With a margin on the right of a logarithmic axis, for words."""
    drawn = [a for a in axes if a.lines]  # an empty one has limits of its own
    if not drawn:
        return
    low = min(a.get_xlim()[0] for a in drawn)
    high = max(a.get_xlim()[1] for a in drawn)
    more = (high / low) ** MARGIN_SHARE if margin else 1
    for each in axes:
        each.set_xlim(low, high * more)
        if each.get_xscale() == "log":
            _logarithmic(each)


def detection_plot(cases: pd.DataFrame) -> Figure:
    """By fault and design, on one logarithmic axis; `missed` is a word."""
    runs = detection.per_run(cases)
    faults, designs = in_order(runs["case"], CASES), in_order(runs["design"], DESIGNS)
    made, panels = _panels(len(faults), len(designs))
    for axes, fault in zip(panels, faults, strict=True):
        here = runs[runs["case"] == fault]
        for row, design in enumerate(designs):
            its = here[here["design"] == design]
            _dots(axes, row, its["detection_ms"], colour_of(design))
        _logarithmic(axes)
        _plain(axes, fault, "ms to the verdict")
        _designs(axes, designs)
    _share_x(panels, margin=True)
    for axes, fault in zip(panels, faults, strict=True):
        here = runs[runs["case"] == fault]
        for row, design in enumerate(designs):
            its = here[here["design"] == design]
            missed = len(its) - int(its["seen"].sum())
            if missed:
                said = "missed" if missed == len(its) else f"missed {missed}"
                axes.annotate(
                    said, (0.985, row), xycoords=("axes fraction", "data"), ha="right",
                    va="center", fontsize=7, color=MISSED_COLOUR,
                )  # fmt: skip
    return made


def silence_plot(cases: pd.DataFrame) -> Figure:
    """False verdicts, by design and silent case."""
    quiet = detection.silent_of(cases)
    designs, names = in_order(quiet["design"], DESIGNS), in_order(quiet["case"], CASES)
    counts = quiet.groupby(["design", "case"])["wrong_verdicts"].sum()
    made = figure(7.5, len(designs) * ROW_INCHES + FRAME_INCHES)
    axes = made.subplots()
    for row, design in enumerate(designs):
        for column, name in enumerate(names):
            count = counts.get((design, name))
            if count is None:
                continue
            axes.text(
                column, row, f"{int(count)}", ha="center", va="center", fontsize=8,
                color="white" if count else MISSED_COLOUR,
                bbox={
                    "boxstyle": "round,pad=0.25",
                    "facecolor": OURS_COLOUR if count else "white",
                    "edgecolor": "none",
                },
            )  # fmt: skip
    _plain(axes, "False verdicts, all runs together")
    axes.grid(visible=False)
    narrow = [name.replace("-", "-\n") for name in names]
    axes.set_xticks(range(len(names)), labels=narrow)
    axes.set_xlim(-0.5, len(names) - 0.5)
    _designs(axes, designs)
    return made


def cost_plot(costs: pd.DataFrame) -> Figure:
    """CPU time, memory, wake-ups; idle filled, under load as a ring."""
    runs = cost.per_run(costs)
    designs = in_order(runs["design"], DESIGNS)
    made, panels = _panels(3, len(designs))
    for axes, (measure, title, label) in zip(
        panels,
        (
            ("cpu_ms_per_s", "CPU time", "ms/s; circle idle, triangle under load"),
            ("rss_mib", "Memory", "MiB resident"),
            ("wakeups_per_s", "Wake-ups", "a second"),
        ),
        strict=True,
    ):
        for row, design in enumerate(designs):
            for phase, marker in (("idle", "o"), ("load", "^")):
                its = runs[(runs["design"] == design) & (runs["phase"] == phase)]
                there = its[measure].where(its[measure] > 0)
                _dots(axes, row, there, colour_of(design), marker)
                if phase == "idle" and (its[measure] == 0).all():
                    axes.annotate(
                        "none", (0.015, row), xycoords=("axes fraction", "data"),
                        va="center", fontsize=7, color=MISSED_COLOUR,
                    )  # fmt: skip
        _logarithmic(axes)
        _plain(axes, title, label)
        _designs(axes, designs)
    return made


def latency_plot(requests: pd.DataFrame, cases: pd.DataFrame) -> Figure:
    """Mean, p95 and p99 of each run, calm and while a fault lasts."""
    runs = latency.per_run(requests, cases)
    phases = in_order(runs["phase"], (latency.CALM, *CASES))
    designs = in_order(runs["design"], DESIGNS)
    made, panels = _panels(len(phases), len(designs), 2)
    for axes, phase in zip(panels, phases, strict=True):
        for row, design in enumerate(designs):
            its = runs[(runs["phase"] == phase) & (runs["design"] == design)]
            for name, marker in (("mean_ms", "o"), ("p95_ms", "^"), ("p99_ms", "s")):
                _dots(axes, row, its[name], colour_of(design), marker)
        _logarithmic(axes)
        _plain(axes, phase, "ms; circle mean, triangle p95, square p99")
        _designs(axes, designs)
    _share_x(panels)
    return made


def overhead_plot(workload: pd.DataFrame) -> Figure:
    """Throughput beside none: one dot for each boot, a bar for the interval."""
    found = [
        row
        for row in overhead.overhead(workload)
        if row["design"] != "none" and row["throughput_ratio"].runs
    ]
    boots = overhead.per_boot(workload)
    names = list(dict.fromkeys(row["workload"] for row in found))
    designs = in_order([row["design"] for row in found], DESIGNS)
    made, panels = _panels(len(names), len(designs) + 1)
    for axes, name in zip(panels, names, strict=True):
        for row in found:
            if row["workload"] != name:
                continue
            _, low, high, _ = row["throughput_ratio"]
            place, colour = designs.index(row["design"]), colour_of(row["design"])
            its = boots[boots["workload"] == name].set_index("design")
            axes.plot([low, high], [place] * 2, color=colour, lw=6, alpha=0.25)
            _dots(axes, place, its.loc[[row["design"]], "throughput_ratio"], colour)
        axes.axvline(1, color=INK, lw=0.8, ls=":")
        _plain(axes, name, "throughput, times none")
        _designs(axes, designs)
    _share_x(panels)
    return made


def recovery_plot(rows: pd.DataFrame) -> Figure:
    """By fault and design; one dot is one round."""
    faults, designs = in_order(rows["fault"], CASES), in_order(rows["design"], DESIGNS)
    made, panels = _panels(len(faults), len(designs) + 1)
    for axes, fault in zip(panels, faults, strict=True):
        for row, design in enumerate(designs):
            its = rows[(rows["fault"] == fault) & (rows["design"] == design)]
            values = its["recovery_ms"].dropna().astype(float)
            _dots(axes, row, values, THEIRS_COLOUR)
        _logarithmic(axes)
        _plain(axes, fault, "ms until all streams flow")
        _designs(axes, designs)
    _share_x(panels)
    return made


def scale_plot(scale: pd.DataFrame) -> Figure:
    """Against the number of VMs; a line for each share that is late."""
    runs = growth.per_run(scale)
    labels = ("wake-ups a second", "CPU time, ms/s", "MiB resident")
    made = figure(WIDTH_INCHES, 3.2)
    panels = made.subplots(1, 3)
    groups = list(runs.groupby(["design", "late_share"]))
    for axes, measure, label in zip(panels, growth.GROWING, labels, strict=True):
        for (key, its), colour in zip(groups, SERIES * len(groups), strict=False):
            design, late = key
            middle = its.groupby("vms")[measure].median()
            name = f"{design}, {100 * late:g} % late"
            axes.plot(its["vms"], its[measure], "o", color=colour, ms=3, alpha=0.5)
            axes.plot(middle.index, middle, color=colour, lw=1.4, label=name)
        if measure != "rss_mib":  # which grows by so much a VM: a straight line
            _logarithmic(axes)
            _almost_logarithmic(axes)
        _plain(axes, label, "VMs")
    if groups:
        handles, names = panels[0].get_legend_handles_labels()
        made.legend(
            handles, names, loc="outside lower center", ncols=3, frameon=False,
            fontsize=8,
        )  # fmt: skip
    return made


def tradeoff_plot(limits: pd.DataFrame) -> Figure:
    """Suspicions for nothing against the limit, by debt; one dot is one recording."""
    made = figure(7.5, 3.4)
    axes = made.subplots()
    groups = list(limits.groupby("debt", sort=False))
    for (debt, its), colour in zip(groups, SERIES * len(groups), strict=False):
        middle = its.groupby("limit_ms")["for_nothing_per_hour"].median()
        axes.plot(
            its["limit_ms"], its["for_nothing_per_hour"], "o", color=colour, ms=3,
            alpha=0.5,
        )  # fmt: skip
        axes.plot(middle.index, middle, color=colour, lw=1.4, label=debt)
    _logarithmic(axes)
    _almost_logarithmic(axes)
    _plain(axes, "Suspicions for nothing an hour", "limit, ms")
    if groups:
        axes.legend(frameon=False, fontsize=8)
    return made
