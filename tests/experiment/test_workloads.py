# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from observer.errors import ProgramError
from observer.experiment.spread import Spread
from observer.experiment.workloads.compiling import parse_compiled, source_text
from observer.experiment.workloads.cpu import parse_spin
from observer.experiment.workloads.fio import parse_terse
from observer.experiment.workloads.nginx import parse_ab
from observer.experiment.workloads.redis import parse_benchmark
from observer.experiment.workloads.table import EMULATED_SCALE, workloads
from observer.experiment.workloads.workload import Kit

SAID = Path(__file__).parent / "said"
AB = (SAID / "ab.txt").read_text()


def test_what_ab_said() -> None:
    """Of 500 requests in the emulated host."""
    throughput, spread = parse_ab(AB, 500)

    assert throughput == pytest.approx(243.27)
    assert spread == Spread(41.107, 41.214, 60.164, 67.507)


@pytest.mark.parametrize(
    ("said", "requests"),
    [
        (AB, 10_000),
        (AB.replace("Failed requests:        0", "Failed requests:        1"), 500),
        (AB.replace("99,", "ninety-nine,"), 500),
        ("", 500),
    ],
)
def test_ab_that_did_not_do_it_all(said: str, requests: int) -> None:
    """Half a figure is none."""
    with pytest.raises(ProgramError):
        parse_ab(said, requests)


def test_what_redis_benchmark_said() -> None:
    """Of one command."""
    throughput, spread = parse_benchmark((SAID / "redis-benchmark.csv").read_text())

    assert throughput == pytest.approx(2304.15)
    assert spread == Spread(20.704, 19.855, 40.959, 71.935)


@pytest.mark.parametrize("said", ["", '"test","rps"\n', '"test","rps"\n"SET","1"\n'])
def test_redis_benchmark_that_said_too_little(said: str) -> None:
    """It is told, with what it said."""
    with pytest.raises(ProgramError, match="redis-benchmark"):
        parse_benchmark(said)


def test_what_fio_said() -> None:
    """Reads only: the percentiles of its writes are all zero."""
    throughput, seconds, spread = parse_terse((SAID / "fio.txt").read_text())

    assert throughput == pytest.approx(1356 / 4 / 4.041)
    assert seconds == pytest.approx(4.041)
    assert spread == Spread(pytest.approx(11.172296643), 5.275, 45.35, 79.167)


@pytest.mark.parametrize("said", ["", "3;fio-3.33;work;0;5;1;2", "3;fio-3.33;work;0;0"])
def test_fio_that_failed(said: str) -> None:
    """Its error, or what it said."""
    with pytest.raises(ProgramError, match="fio"):
        parse_terse(said)


def test_what_the_guests_programs_said() -> None:
    """Between other lines of its console."""
    assert parse_spin("guest up\nspin: 3000000 rounds in 1500000000 ns\n") == (2.0, 1.5)
    assert parse_compiled("compiled: 60 files in 400 hundredths\n") == (15.0, 4.0)
    for parse in (parse_spin, parse_compiled):
        with pytest.raises(ProgramError, match="said"):
            parse("guest up\n")


def test_what_is_compiled_compiles(tmp_path: Path) -> None:
    """Files differ, and neither needs another."""
    assert source_text(1) != source_text(2)
    compiler = shutil.which("tcc")
    assert compiler, "apt install tcc"
    (tmp_path / "1.c").write_text(source_text(1))
    argv = [compiler, "-Wall", "-Werror", "-c", "1.c", "-o", "1.o"]

    subprocess.run(argv, check=True, cwd=tmp_path, timeout=60)

    assert (tmp_path / "1.o").stat().st_size > 1000


def test_kits_are_joined() -> None:
    """A guest may have the server of the latency pair beside its own work."""
    assert Kit(("a",), "one\n") + Kit(("b",), "two\n") == Kit(("a", "b"), "one\ntwo\n")


def test_all_are_in_the_table_and_the_scale_is_told(tmp_path: Path) -> None:
    """Each under its own name, which is also a guest's."""
    every = workloads(tmp_path, EMULATED_SCALE)

    assert list(every) == [
        *("idle", "cpu", "nginx", "redis", "fio", "compile", "latency"),
    ]
    assert all(name == its.name for name, its in every.items())
    assert every["nginx"].requests == 1000
    assert workloads(tmp_path)["nginx"].requests == 10_000
