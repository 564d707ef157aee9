"""The install: into a folder of its own, from a tiny lock and wheels made here, without a network.

What cannot be had here is the package index; that its absence is told in one sentence is tested.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

from workshop.paths import ROOT
from workshop.setup import install as installing
from workshop.setup.install import Install, InstallError
from workshop.setup.stamp import VERSION

LOCK = (ROOT / "requirements.txt").read_text()
UV = Path(sys.executable).parent / "uv"
NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--net"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder to install into, whose lock names one package; uv is on the PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(UV)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    root = tmp_path / "a clone"
    (root / "workshop" / "setup").mkdir(parents=True)
    for name in ("__init__.py", "setup/stamp.py", "setup/install.py"):
        shutil.copy(ROOT / "workshop" / name, root / "workshop" / name)
    tiny.lock(root / "requirements.txt", tiny.wheel(root / "wheels"))
    return root


@pytest.fixture
def install(root):
    return Install(str(root), str(root / "wheels"))


def command(root: Path) -> list[str]:
    return [sys.executable, "-I", str(root / "workshop" / "setup" / "install.py")]


def run_tiny(root: Path) -> str:
    script = root / ".venv" / "bin" / "tiny-command"
    return subprocess.run([script], capture_output=True, text=True, check=True).stdout


def nothing(text):
    raise AssertionError(f"something was installed: {text}")


def test_first_install_lays_down_the_locked_package(root, install):
    assert not install.complete()
    install.run()
    assert install.complete()
    assert run_tiny(root) == "tiny runs\n"


def test_what_servers_import_is_compiled_wherever_it_may_not_be_later(root, install, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(installing, "USED", "tiny")
    install.run()
    assert list((root / ".venv").rglob("tiny.cpython-*.pyc"))


def test_every_module_to_compile_can_be_imported():
    done = subprocess.run([sys.executable, "-c", f"import {installing.USED}"], check=False)
    assert done.returncode == 0


def test_nothing_is_installed_twice(root, install):
    install.run()
    Install(str(root)).run(say=nothing)


def test_a_changed_lock_is_installed(root, install):
    install.run()
    with (root / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert not install.complete()
    install.run()
    assert install.complete()


def test_another_python_makes_the_venv_anew(install, monkeypatch):
    install.run()
    stamp = Path(install.stamp)
    stamp.write_text(stamp.read_text().replace(VERSION, "3.2"))
    assert not install.complete()


def test_an_install_that_was_killed_while_laying_down_is_finished(root, install):
    install.run()
    Path(install.stamp).unlink()
    Path(install.started).touch()
    next((root / ".venv").glob("lib/*/site-packages/tiny.py")).unlink()
    install.run()
    assert install.complete()
    assert run_tiny(root) == "tiny runs\n"


def test_a_half_made_venv_is_made_anew(root, install):
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "pyvenv.cfg").write_text("home = /gone\n")
    install.run()
    assert run_tiny(root) == "tiny runs\n"


def test_a_venv_whose_python_is_gone_is_made_anew(root, install):
    install.run()
    Path(install.stamp).unlink()
    Path(install.python).unlink()
    Path(install.python).symlink_to(root / "gone")
    install.run()
    assert run_tiny(root) == "tiny runs\n"


def test_killed_at_any_moment_the_next_run_finishes(root, install):
    environment = os.environ | {"WHEELHOUSE": str(root / "wheels")}
    for moment in (0.05, 0.15, 0.3):
        process = subprocess.Popen(
            command(root), env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moment)  # any moment will do
        os.killpg(process.pid, 9)
        process.wait()
    install.run()
    assert run_tiny(root) == "tiny runs\n"


def test_a_moved_folder_is_mended_without_installing(root, install):
    install.run()
    moved = root.rename(root.with_name("moved, and with spaces"))
    Install(str(moved)).run(say=print)
    assert Install(str(moved)).complete()
    assert run_tiny(moved) == "tiny runs\n"
    activate = ["sh", "-c", '. .venv/bin/activate && echo "$VIRTUAL_ENV"']
    shown = subprocess.run(activate, cwd=moved, capture_output=True, text=True).stdout
    assert shown == f"{moved}/.venv\n"


def test_of_two_at_once_one_waits_and_installs_nothing(root, install):
    said: dict[int, list[str]] = {0: [], 1: []}
    threads = [threading.Thread(target=install.run, args=[said[n].append]) for n in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first, second = sorted(said.values(), key=len, reverse=True)
    assert any("Making .venv" in text for text in first)
    assert all("waiting" in text for text in second)
    assert install.complete()


def test_the_python_of_the_check_needs_no_site(root, install):
    install.run()
    check = [install.python, "-I", "-S", str(root / "workshop" / "setup" / "stamp.py")]
    assert subprocess.run(check).returncode == 0
    Path(install.stamp).unlink()
    assert subprocess.run(check).returncode == 1


@pytest.mark.parametrize("way", ["no route", "no server"])
def test_without_network_one_sentence(root, way):
    environment = os.environ | {"UV_HTTP_RETRIES": "0"}
    before: list[str] = []
    if way == "no route":
        before = NAMESPACE
        if not shutil.which("unshare") or subprocess.run([*before, "true"]).returncode:
            pytest.skip("only a network namespace cuts off one command, and none may be made here")
    else:
        nowhere = "http://127.0.0.1:9"
        environment |= {"HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}
    done = subprocess.run(
        [*before, *command(root)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "✗ The packages cannot be fetched: connect to the network and run make again, "
        "or install from a folder of wheels with WHEELHOUSE=folder.\n"
    )


def test_a_python_without_venv_is_told_what_to_install(install, root, monkeypatch):
    python = root / "python"
    python.write_text("#!/bin/sh\necho 'ensurepip is not available'; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "_base_executable", str(python))
    with pytest.raises(InstallError, match=r"apt install python3\.\d+-venv"):
        install.run()


def test_a_wheelhouse_that_is_not_there(root):
    with pytest.raises(InstallError, match="nowhere is not a folder"):
        Install(str(root), str(root / "nowhere"))


@pytest.mark.parametrize("fault", ["missing", "tampered"])
def test_a_wheelhouse_with_a_missing_or_wrong_wheel(root, install, fault):
    path = root / "wheels" / "tiny-1.0-py3-none-any.whl"
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"tampered")
    with pytest.raises(InstallError, match=r"^WHEELHOUSE=.*: make it again"):
        install.run()
    assert not install.complete()


def test_the_lock_pins_everything_with_hashes_and_names_no_index():
    entries = re.findall(r"^[a-z0-9].*(?:\n    --hash=.*)*", LOCK, re.MULTILINE)
    assert len(entries) > 100
    assert all(re.match(r"[a-z0-9-]+==\S+( ; .*)? \\\n    --hash=sha256:", one) for one in entries)
    assert "://" not in LOCK
    assert "index" not in LOCK


def test_the_lock_has_what_is_asked_for():
    asked = (ROOT / "requirements.in").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)", asked, re.MULTILINE))
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    assert installing.block(str(ROOT / "requirements.txt"), "uv").count("--hash") > 5
