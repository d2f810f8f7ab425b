# SPDX-License-Identifier: Apache-2.0
"""The guest ABI as Python reads it, against the C compiler and the guest's own code."""

import subprocess

import pytest

from observer.errors import ProgramError
from observer.services.abi import Abi, header, parse_header
from observer.testbed.nested import checkout

ABI = Abi.of_header()
BEATER = """
#include <stdio.h>
#include "beat.h"
static u64 words[5];
#define HYPERCALL_H
static u64 hypercall(u64 n, u64 a, u64 b, u64 c, u64 d)
{
    words[0] = n, words[1] = a, words[2] = b, words[3] = c, words[4] = d;
    return 0;
}
#include "lib/beat.c"
bool under_kvm(void) { return true; }
void control_say(struct control *control, const char *text, ...) {}
int main(void)
{
    struct heart heart;
    start_heart(&heart, ABI_SERVICE_NET, 2, "", 0);
    heart.sequence = 41;
    heart.parts[0] = (struct part){ .given = 7, .done = 5 };
    heart.parts[1] = (struct part){ .given = 1, .done = 0xffffffff };
    beat(&heart, 0, 100);
    for (int k = 0; k < 5; k++)
        printf("%lu ", words[k]);
}
"""


def compiled(program, tmp_path, *options):
    program_path = str(tmp_path / "program")
    argv = ["gcc", "-x", "c", "-", *options, "-o", program_path]
    include = ["-Iunikernels/include", "-Iunikernels"]
    subprocess.run(
        [*argv, *include], input=program, text=True, check=True, cwd=checkout()
    )
    return subprocess.run(
        [tmp_path / "program"], capture_output=True, text=True, check=True
    ).stdout


def test_numbers_are_those_that_the_compiler_sees(tmp_path):
    """Every number of the header, and none beside them."""
    numbers = parse_header(header().read_text())
    lines = "".join(f'printf("{name} %d\\n", (int)ABI_{name});' for name in numbers)
    said = compiled(
        f'#include <stdio.h>\n#include "guest_abi.h"\nint main(void) {{ {lines} }}',
        tmp_path,
    )
    defined = subprocess.run(
        ["gcc", "-E", "-dM", str(header())], capture_output=True, text=True, check=True
    ).stdout.count("#define ABI_")

    assert len(numbers) == defined > 10
    assert dict(line.split() for line in said.splitlines()) == {
        name: str(value) for name, value in numbers.items()
    }


def test_a_beat_of_the_guests_own_code_is_by_the_header(tmp_path):
    """What lib/beat.c puts into the registers, taken apart by the header's numbers."""
    number, who, sequence, done, given = map(
        int, compiled(BEATER, tmp_path, "-w", "unikernels/lib/cmdline.c").split()
    )
    said = {
        name: who >> ABI[f"BEAT_{name}_SHIFT"] & ABI[f"BEAT_{name}_MASK"]
        for name in ("SERVICE", "VERSION", "PARTS")
    }

    assert number == ABI["HYPERCALL_BEAT"]
    assert said == {
        "SERVICE": ABI["SERVICE_NET"],
        "VERSION": ABI["VERSION"],
        "PARTS": 2,
    }
    assert sequence == 41
    assert (given & 0xFFFFFFFF, given >> 32) == (7, 1)
    assert (done & 0xFFFFFFFF, done >> 32) == (5, 0xFFFFFFFF)


@pytest.mark.parametrize("said", [["version 1"], ["up net 1", "version 1"]])
def test_an_image_may_greet_before_it_says_its_version(said):
    """Who asks it as soon as it takes lines hears both."""
    Abi({"VERSION": 1}).check_version(said)


@pytest.mark.parametrize("said", [[], ["up net 2", "version 2"], ["version 11"]])
def test_an_image_of_another_version_is_refused(said):
    """In one sentence that says what to do."""
    with pytest.raises(ProgramError, match="version 1 of the guest ABI: build"):
        Abi({"VERSION": 1}).check_version(said)
