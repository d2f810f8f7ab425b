# SPDX-License-Identifier: Apache-2.0
"""A compile in the manner of the kernel's: many small files, many forks.

For each file a shell is started, which runs the compiler and moves its result into
place, as make and kbuild do: three programs a file.  The compiler is tcc and the files
are made up, for gcc's alone is 30 MB, which each guest would have in its memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import ProgramError
from observer.experiment.workloads.in_guest import work_for, work_script
from observer.experiment.workloads.workload import Kit, WorkloadSample

if TYPE_CHECKING:
    from pathlib import Path

    from observer.guests.guest import Guest

__all__ = ["Compile", "parse_compiled", "source_text"]

FILES, FUNCTIONS = 10, 20
FUNCTION = """\
static int f{k}(struct record *r, int n)
{{
	int sum = {k};
	for (int i = 0; i < n; i++) {{
		if (r[i].kind == {k})
			sum += r[i].value * {seed};
		else
			r[i].value ^= sum << (i & 7);
	}}
	return sum;
}}
"""
# The clock of /proc counts hundredths, and needs no program to be read.
WORK = """\
count=0
read -r up _ </proc/uptime
now=${up%.*}${up#*.} began=$now
while [ $((now - began)) -lt $(($1 * 100)) ]; do
	for source in /src/*.c; do
		sh -c "tcc -c $source -o /tmp/object.new && mv /tmp/object.new /tmp/object" ||
			exit 1
		count=$((count + 1))
	done
	read -r up _ </proc/uptime
	now=${up%.*}${up#*.}
done
echo "compiled: $count files in $((now - began)) hundredths"
"""
HUNDREDTHS = 100


def source_text(seed: int) -> str:
    """One file: it includes nothing, so that nothing else need be in the guest."""
    bodies = (FUNCTION.format(k=k, seed=seed + k) for k in range(FUNCTIONS))
    calls = " + ".join(f"f{k}(r, n)" for k in range(FUNCTIONS))
    return (
        "struct record { int kind, value; };\n"
        + "".join(bodies)
        + f"int all{seed}(struct record *r, int n)\n{{\n\treturn {calls};\n}}\n"
    )


def parse_compiled(said: str) -> tuple[float, float]:
    """Files a second, and in how many seconds of the guest's."""
    found = re.search(r"compiled: (\d+) files in (\d+) hundredths", said)
    if not found:
        raise ProgramError(f"The compile said {said.strip()[-200:]!r}.")
    seconds = int(found[2]) / HUNDREDTHS
    return int(found[1]) / seconds, seconds


@dataclass(frozen=True)
class Compile:
    """One file after the other, for a time."""

    name: str = "compile"
    memory_mib: int = 128
    port: int | None = None

    def kit(self, build: Path) -> Kit:  # noqa: ARG002 - it is installed
        """The compiler and its sources."""
        sources = "".join(
            f"cat >/src/{seed}.c <<'END'\n{source_text(seed)}END\n"
            for seed in range(FILES)
        )
        return Kit(("tcc",), f"mkdir -p /src\n{sources}{work_script(WORK)}")

    def run(self, guest: Guest, seconds: float) -> WorkloadSample:
        """Compile for so long, and the round to its end."""
        throughput, took_s = parse_compiled(work_for(guest, seconds))
        return WorkloadSample("files/s", throughput, took_s)
