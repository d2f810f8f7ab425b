# SPDX-License-Identifier: Apache-2.0
"""Latency, overhead and recovery, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observer.analysis.document import DASH, Section, Table, figure, p_value, spread
from observer.analysis.latency import CALM, LATENCIES, by_phase
from observer.analysis.order import DESIGNS, in_order
from observer.analysis.overhead import BASE, overhead
from observer.analysis.published import detection_of
from observer.analysis.recovery import by_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from observer.analysis.recovery import Sitting

__all__ = ["latency_section", "overhead_section", "recovery_section"]


def _felt_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['requests']:,}",
        f"{row['lost']:,}",
        *(spread(row[name]) for name in (*LATENCIES, "longest_silence_ms")),
    )


def latency_section(requests: pd.DataFrame, cases: pd.DataFrame) -> Section | None:
    """What a client felt."""
    found = by_phase(requests, cases)
    if not found:
        return None
    calm = tuple(
        (row["design"], str(row["runs"]), *_felt_cells(row))
        for row in found
        if row["phase"] == CALM
    )
    broken = tuple(
        (
            *(row["phase"], row["design"], str(row["runs"])),
            spread(row["lasted_ms"]),
            *_felt_cells(row),
        )
        for row in found
        if row["phase"] != CALM
    )
    felt = (
        *("requests", "lost", "mean, ms", "p95, ms", "p99, ms"),
        "longest silence, ms",
    )
    return Section(
        "Latency of a client's requests",
        (
            (
                "Open loop at a fixed rate; latency counts from when a request was "
                "due, so that none hides behind one that waits (no coordinated "
                "omission)."
            ),
            (
                f"Lost requests came later than all others; {DASH}: in some run the "
                "percentile fell among them.  Means are of those that were answered."
            ),
        ),
        (
            Table("While nothing is broken", ("design", "runs", *felt), calm),
            Table(
                "While a fault lasts",
                ("fault", "design", "runs", "lasted, ms", *felt),
                broken,
                (
                    (
                        "Nobody repairs here: a fault is undone once its design has "
                        "said all of it, or was waited for in vain, so that what a "
                        "client feels tells of how long the design took."
                    ),
                    (
                        "The client asks the network: of a disk that hangs it feels "
                        "nothing."
                    ),
                ),
            ),
        ),
        "latency",
    )


def _false_verdicts(workload: pd.DataFrame) -> str:
    counts = workload.groupby("design", sort=False)["wrong_verdicts"].sum()
    return ", ".join(
        f"{design} {counts[design]}"
        for design in in_order(counts.index, DESIGNS)
        if design != BASE
    )


def overhead_section(workload: pd.DataFrame) -> Section | None:
    """What a workload loses to an observer."""
    found = overhead(workload) if len(workload) else []
    if not found:
        return None
    rows = tuple(
        (
            row["workload"],
            row["design"],
            str(row["boots"]),
            spread(row["throughput"]),
            row["unit"] or DASH,
            spread(row["throughput_ratio"]),
            p_value(row["throughput_p"]),
            spread(row["p99_ms"]),
            spread(row["p99_ms_ratio"]),
            p_value(row["p99_ms_p"]),
            figure(row["observer_cpu_ms_per_s"].middle),
            figure(row["exits_per_s"].middle),
        )
        for row in found
    )
    most = max(row["boots"] for row in found)
    columns = (
        *("workload", "design", "boots", "throughput", "unit", "times none", "p"),
        *("p99, ms", "p99, times none", "p ", "its program's CPU, ms/s", "exits/s"),
    )
    return Section(
        "Overhead by workload",
        (
            (
                "All designs share each boot, forth and back, for boots differ by far "
                "more than designs do: a ratio is one of the same boot, and its "
                "interval is over boots."
            ),
            (
                "A ratio whose interval holds 1 is no overhead that so many boots "
                "could show; it is not proof of none.  p is of a sign-flip test of "
                f"pairs, which with {most} can give none below "
                f"{p_value(2 / 2**most)}."
            ),
            (
                "CPU time is that of the design's own program; what its BPF programs "
                "take is in the tables of cost, and here in what the workload loses."
            ),
            f"False verdicts in all these windows: {_false_verdicts(workload)}.",
            (
                "Beside it: Phoenix 1 to 3 % on I/O-intensive applications, Orbit 3.3 "
                "% in the median and 10.2 % at most, HyperTap under 2 % CPU and 5 % "
                "disk."
            ),
        ),
        (Table("Throughput and tail", columns, rows),),
        "overhead",
    )


def recovery_section(
    frame: pd.DataFrame, sittings: Sequence[Sitting]
) -> Section | None:
    """Services that are mended: how soon, and what was lost."""
    if frame.empty:
        return None
    found = by_fault(frame)
    tables = []
    for sitting in sittings:
        host = sitting.head.host
        rows = tuple(
            (
                row["case"],
                row["design"],
                str(row["rounds"]),
                f"{row['repaired']}/{row['rounds']}",
                spread(row["detection_ms"]),
                spread(row["recovery_ms"]),
                DASH if row["lost"] is None else f"{row['lost']:,}",
                DASH if row["sent"] is None else f"{row['sent']:,}",
                _of(row["tcp_survived"], row["rounds"]),
                detection_of(row["design"]) or DASH,
            )
            for row in found
            if row["sitting"] == sitting.name
        )
        columns = (
            *("fault", "design", "rounds", "mended", "detection, ms", "recovery, ms"),
            *("packets lost", "sent", "TCP went on"),
        )
        tables.append(
            Table(
                f"{sitting.name}: {sitting.head.experiment} on Linux {host.kernel}, "
                f"{host.accelerator}, seed {host.seed}",
                (*columns, "published detection"),
                rows,
            )
        )
    return Section(
        "Recovery of services, and what was lost",
        (
            (
                "Rows of `observer experiment run net-failure` and its kin; "
                "docs/experiments.md tells the designs."
            ),
            (
                "The rounds of a file are of one boot, so these intervals tell how "
                "rounds differ, not how boots do."
            ),
            (
                "Beside it, for a failed NIC driver: Phoenix 4.7 s and no packet lost "
                "(fine-grained), 6.9 s and 425,866 (coarse-grained); TFD-Xen 0.8 s and "
                "2,379; warm spares under 10 ms."
            ),
        ),
        tuple(tables),
        "recovery",
    )


def _of(count: int | None, rounds: int) -> str:
    return DASH if count is None else f"{count}/{rounds}"
