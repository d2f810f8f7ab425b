# SPDX-License-Identifier: Apache-2.0
"""Plots have a dot for each run, and a word where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.analysis.picture import png
from observer.analysis.plots import detection_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from observer.analysis.results import Study


def dots(axes: Axes) -> int:
    return sum(len(line.get_xdata()) for line in axes.lines)


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_run_is_a_dot_and_a_miss_is_a_word(study: Study) -> None:
    """Three runs of each design that saw it: sleeping, scanning and pvpanic."""
    cases = study.runs.of("cases", "detection")
    made = detection_plot(cases[cases["design"] != "vm-per-vm"])
    panels = {axes.get_title(loc="left"): axes for axes in made.axes}

    assert dots(panels["vmm-crash"]) == 9
    assert words(panels["vmm-crash"]) == ["missed"] * 3
    assert dots(panels["vcpu-lockup"]) == 6


def test_what_nobody_saw_does_not_stretch_the_axis(study: Study) -> None:
    """All panels have one axis, of what was seen."""
    cases = study.runs.of("cases", "detection")
    few = cases[cases["design"].isin(["none", "pvpanic"])]
    made = detection_plot(few)
    limits = {axes.get_xlim() for axes in made.axes if axes.get_visible()}

    assert len(limits) == 1
    assert 1 < limits.pop()[0] < 100
    assert png(made).startswith(b"\x89PNG")
    assert png(detection_plot(cases[cases["design"] == "none"]))
