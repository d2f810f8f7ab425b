# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.errors import ConfigError, UsageError
from observer.services.folder import is_name, service_folder
from observer.services.images import images_file, read_images

GOOD = """
[net]
image = "net.elf"
[[net.ports]]
tap = "a"
bridge = "b"
"""


def test_the_file_that_comes_with_it_is_good() -> None:
    """Both images of the project, each with its ports in the image's order."""
    found = read_images(images_file())

    assert set(found) == {"net", "disk"}
    assert [port.tap for port in found["net"].ports] == ["obs-net-nic", "obs-net-back"]
    assert found["disk"].disk


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('"net.elf"', "5"), "image"),
        (GOOD + "spares = 1\n", "spares"),
        (GOOD.replace('bridge = "b"', ""), "bridge"),
        (GOOD.replace("[[", "spare = true\nmemory_mib = 24\n[["), "power of two"),
        (GOOD.replace('tap = "a"', 'tap = "../../etc"'), "no name of a network device"),
        (GOOD.replace('tap = "a"', 'tap = ""'), "'' is no name"),
        (GOOD.replace('tap = "a"', 'tap = "sixteen-letters-"'), "no name of a network"),
        (
            GOOD.replace("net.elf", "n").replace("[net]", "[net]\nmemory_mib = 4"),
            "8 to",
        ),
        ('[net]\nimage = "net.elf"\nports = []\n', "at least one"),
        (GOOD + GOOD.replace("net", "two", 1).replace("net.p", "two.p"), "named twice"),
        (GOOD + "mtu = 100\n", "576 to 9000"),
        (GOOD.replace("[[", 'words = "aoe.slot=one"\n[['), "are numbers"),
        (
            GOOD.replace("[[", 'disk = "d"\n[[')
            + GOOD.replace("net", "two", 1)
            .replace("[[net", 'disk = "e"\n[[two')
            .replace('"a"', '"c"'),
            "two disks are e0.0",
        ),
        ("[net", "Expected"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File, key and reason, in one sentence."""
    file = tmp_path / "images.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=said) as caught:
        read_images(file)

    assert str(file) in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Says which."""
    with pytest.raises(UsageError, match=r"none\.toml"):
        read_images(tmp_path / "none.toml")


def test_a_name_never_leaves_its_folder(tmp_path: Path) -> None:
    """A VM may be called anything; a path is made only of what is a name."""
    assert is_name("net-1.a")
    assert service_folder(tmp_path, "net").path == tmp_path / "net"
    for name in ("../x", "", ".", "..", "a/b", "a" * 32, "-a", "a\n"):
        assert not is_name(name)
        assert service_folder(tmp_path, name) is None
