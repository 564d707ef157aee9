"""The install: into a folder of its own, from a tiny lock and wheels made here, without a network.

What cannot be had here is the package index; that its absence is told in one sentence is tested.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
import tiny
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workshop.paths import ROOT
from workshop.setup import install as installing
from workshop.setup.install import SOURCE_ONLY, Install, InstallError
from workshop.setup.stamp import VERSION

LOCKS = {file.stem: file.read_text() for file in (ROOT / "requirements").glob("*.txt")}
UV = Install().find_uv()
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--net"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder to install into, with a package in group core and another in group more.

    uv is on the PATH.
    """
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(UV)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    root = tmp_path / "a clone"
    (root / "workshop" / "setup").mkdir(parents=True)
    for name in ("__init__.py", "locks.py", "setup/stamp.py", "setup/install.py"):
        shutil.copy(ROOT / "workshop" / name, root / "workshop" / name)
    for group, name in (("core", "tiny"), ("more", "extra"), ("uv", "uv"), ("build", "maker")):
        tiny.lock(root / "requirements" / f"{group}.txt", tiny.wheel(root / "wheels", name))
    return root


@pytest.fixture
def install(root):
    return Install(str(root), str(root / "wheels"))


def command(root: Path) -> list[str]:
    return [sys.executable, "-I", str(root / "workshop" / "setup" / "install.py")]


def run_tiny(root: Path, name: str = "tiny") -> str:
    script = root / ".venv" / "bin" / f"{name}-command"
    return subprocess.run([script], capture_output=True, text=True, check=True).stdout


def nothing(text):
    raise AssertionError(f"something was installed: {text}")


def test_first_install_lays_down_the_locked_package(root, install):
    assert not install.complete(["core"])
    install.run()
    assert install.complete(["core"])
    assert run_tiny(root) == "tiny runs\n"


def test_nothing_is_installed_twice(root, install):
    install.run()
    Install(str(root)).run(say=nothing)


def test_a_group_is_added_when_it_is_first_needed_and_the_others_stay(root, install):
    install.run()
    assert not install.complete(["core", "more"])
    install.run(["core", "more"])
    assert run_tiny(root, "extra") == "extra runs\n"
    assert run_tiny(root) == "tiny runs\n"
    install.run(["core"], say=nothing)
    assert install.complete(["core", "more"])


def test_a_package_that_has_left_the_lock_is_removed(root, install):
    install.run(["core", "more"])
    tiny.lock(root / "requirements" / "more.txt", tiny.wheel(root / "wheels"))
    install.run(["core", "more"])
    assert not list((root / ".venv").rglob("extra*"))
    assert run_tiny(root) == "tiny runs\n"


def test_a_group_that_has_left_pyproject_is_removed(root, install):
    install.run(["core", "more"])
    (root / "requirements" / "more.txt").unlink()
    with (root / "requirements" / "core.txt").open("a") as file:
        file.write("# changed\n")
    install.run()
    assert not list((root / ".venv").rglob("extra*"))


def test_a_group_that_does_not_exist_is_named(install):
    with pytest.raises(InstallError, match=r"no group moer: the groups are build core more uv\.$"):
        install.run(["core", "moer"])


def test_the_package_without_wheels_is_built_from_its_source(root, install):
    tiny.lock(root / "requirements" / "core.txt", tiny.sdist(root / "wheels", SOURCE_ONLY))
    install.run()
    assert run_tiny(root, SOURCE_ONLY) == f"{SOURCE_ONLY} runs\n"
    assert not list((root / ".venv").rglob("maker*"))


def test_nothing_builds_it_but_what_is_locked(root, install, tmp_path):
    tiny.lock(root / "requirements" / "core.txt", tiny.sdist(root / "wheels", SOURCE_ONLY))
    other = tiny.wheel(tmp_path / "other", "maker", extra={"other.py": ""})
    tiny.lock(root / "requirements" / "build.txt", other)
    with pytest.raises(InstallError):
        install.run()
    assert not install.complete(["core"])


def test_no_other_package_is_built(root, install):
    (root / "wheels" / "tiny-1.0-py3-none-any.whl").unlink()
    tiny.lock(root / "requirements" / "core.txt", tiny.sdist(root / "wheels", "tiny"))
    with pytest.raises(InstallError):
        install.run()
    assert not install.complete(["core"])


def test_a_changed_lock_is_installed(root, install):
    install.run()
    with (root / "requirements" / "core.txt").open("a") as file:
        file.write("# changed\n")
    assert not install.complete(["core"])
    install.run()
    assert install.complete(["core"])


def test_another_python_makes_the_venv_anew(install, monkeypatch):
    install.run()
    stamp = Path(install.stamp)
    stamp.write_text(stamp.read_text().replace(VERSION, "3.2"))
    assert not install.complete(["core"])


def test_an_install_that_was_killed_while_laying_down_is_finished(root, install):
    install.run()
    Path(install.stamp).unlink()
    Path(install.started).touch()
    next((root / ".venv").glob("lib/*/site-packages/tiny.py")).unlink()
    install.run()
    assert install.complete(["core"])
    assert run_tiny(root) == "tiny runs\n"


def test_a_half_made_venv_is_made_anew(root, install):
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "pyvenv.cfg").write_text("home = /gone\n")
    Path(install.started).touch()
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
    assert Install(str(moved)).complete(["core"])
    assert run_tiny(moved) == "tiny runs\n"
    activate = ["sh", "-c", '. .venv/bin/activate && echo "$VIRTUAL_ENV"']
    shown = subprocess.run(activate, cwd=moved, capture_output=True, text=True).stdout
    assert shown == f"{moved}/.venv\n"


@pytest.mark.parametrize("kind", ["folder", "file", "link to a folder", "link to another's .venv"])
def test_what_is_not_ours_is_never_emptied(root, install, kind):
    venv, treasure = root / ".venv", root / "treasure"
    {"folder": venv, "file": root}.get(kind, treasure).mkdir(exist_ok=True)
    if kind == "file":
        venv.write_text("mine")
    elif kind == "folder":
        (venv / "mine").write_text("mine")
    else:
        (treasure / "mine").write_text("mine")
        venv.symlink_to(treasure)
    if "another's" in kind:
        (treasure / "place").write_text(str(treasure))
    done = subprocess.run(command(root), capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"✗ .*/\.venv is .*: move it away, then run make again\.\n", done.stderr)
    assert [path.read_text() for path in root.rglob("mine")] == ["mine"] * (kind != "file")
    assert kind != "file" or venv.read_text() == "mine"


def test_an_empty_folder_is_used(root, install):
    (root / ".venv").mkdir()
    install.run()
    assert run_tiny(root) == "tiny runs\n"


def test_of_two_at_once_one_waits_and_installs_nothing(root, install):
    said: dict[int, list[str]] = {0: [], 1: []}
    threads = [threading.Thread(target=install.run, kwargs={"say": said[n].append}) for n in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first, second = sorted(said.values(), key=len, reverse=True)
    assert any("Making .venv" in text for text in first)
    assert all("waiting" in text for text in second)
    assert install.complete(["core"])


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


@pytest.fixture
def fake_uv(root):
    """Puts a uv on the PATH that does what a shell script says, with the real one as "$uv"."""

    def put(script: str) -> None:
        uv = root.parent / "bin" / "uv"
        uv.unlink()
        version = f'uv={UV}; test "$1" != --version || exec "$uv" --version'
        uv.write_text(f"#!/bin/sh\n{version}\n{script}\n")
        uv.chmod(0o755)

    return put


def test_certificates_of_the_system_are_tried_where_uvs_own_do_not_do(root, install, fake_uv):
    refuse = "echo 'error: Failed to fetch: invalid peer certificate: UnknownIssuer' >&2; exit 2"
    fake_uv(f'test -n "$UV_SYSTEM_CERTS" || {{ {refuse}; }}\nexec "$uv" "$@"')
    install.run()
    assert run_tiny(root) == "tiny runs\n"


def says_in_one_sentence(root: Path, **environment) -> str:
    done = subprocess.run(
        command(root), env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (
            "Failed to fetch: `x`\n  Caused by: invalid peer certificate: NotValidYet",
            "✗ The package index's certificate was not accepted: check this machine's clock, "
            "or set SSL_CERT_FILE to the file of your network's certificates.\n",
        ),
        (
            "failed to copy\n  Caused by: No space left on device (os error 28)",
            "✗ The disk is full: free some space, then run make again.\n",
        ),
        (
            f"failed in {'long/' * 50}: the cause that stands last",
            "the cause that stands last); run make again to go on from there.\n",
        ),
    ],
)
def test_a_failure_is_one_sentence_with_its_cause(root, fake_uv, reason, sentence):
    fake_uv(f"cat >&2 <<'EOF'\nerror: {reason}\nEOF\nexit 2")
    assert says_in_one_sentence(root).endswith(sentence)


def test_a_folder_that_may_not_be_written_is_one_sentence(root, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system", "/clone/.workshop")

    monkeypatch.setattr(Install, "run", refuse)
    assert installing.main() == 1
    assert capsys.readouterr().err == (
        "✗ The install failed ([Errno 30] Read-only file system: '/clone/.workshop'): "
        "copy the workshop to a folder where you may write.\n"
    )


def test_a_home_that_may_not_be_written_gets_uvs_cache_elsewhere(root, install, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR")
    monkeypatch.setattr(installing, "cache_is_writable", lambda: False)
    install = Install(str(root), str(root / "wheels"))
    install.run()
    assert run_tiny(root) == "tiny runs\n"
    assert (root / ".workshop" / "uv-cache").is_dir()


def test_where_the_cache_would_be_made_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert installing.cache_is_writable()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert not installing.cache_is_writable()


def test_settings_for_other_projects_change_nothing(root, install, monkeypatch, tmp_path):
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[install]\nuser = true\ntarget = {tmp_path / 'target'}\n[global]\n"
        f"prefix = {tmp_path / 'prefix'}\nrequire-virtualenv = true\n"
    )
    (tmp_path / "constraints.txt").write_text("tiny<1\nuv<1\n")
    settings = {
        "PIP_CONFIG_FILE": config, "PIP_USER": "1", "PIP_TARGET": tmp_path / "target",
        "PIP_PREFIX": tmp_path / "prefix", "PIP_CONSTRAINT": tmp_path / "constraints.txt",
        "PIP_REQUIRE_VIRTUALENV": "1", "UV_CONSTRAINT": tmp_path / "constraints.txt",
        "UV_EXCLUDE_NEWER": "2001-01-01", "PYTHONPATH": tmp_path, "PYTHONHOME": tmp_path,
    }  # fmt: skip
    program = {"uv-1.0.data/scripts/uv": f'#!/bin/sh\nexec {UV} "$@"\n'}
    tiny.lock(root / "requirements" / "uv.txt", tiny.wheel(root / "wheels", "uv", program))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    environment["WHEELHOUSE"] = str(root / "wheels")
    subprocess.run(command(root), env=environment, check=True)
    assert run_tiny(root) == "tiny runs\n"
    assert {path.name for path in tmp_path.iterdir()} <= {
        "a clone", "bin", "cache", "constraints.txt", "pip.conf"
    }  # fmt: skip


def test_uv_comes_out_of_its_wheel_where_none_is_on_the_path(root, monkeypatch):
    program = {"uv-1.0.data/scripts/uv": f'#!/bin/sh\nexec {UV} "$@"\n'}
    tiny.lock(root / "requirements" / "uv.txt", tiny.wheel(root / "wheels", "uv", program))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    Install(str(root), str(root / "wheels")).run()
    assert os.access(root / ".venv" / "bin" / "uv", os.X_OK)
    assert run_tiny(root) == "tiny runs\n"


def test_a_python_without_venv_is_told_what_to_install(install, root, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(installing.glob, "glob", lambda pattern: [])
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
    assert not install.complete(["core"])


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_is_locked_with_hashes_and_names_no_index(group):
    lock = LOCKS[group]
    entries = re.findall(r"^[a-z0-9].*(?:\n    --hash=.*)*", lock, re.MULTILINE)
    assert len(entries) >= len(GROUPS[group])
    assert all(re.match(r"[a-z0-9-]+==\S+( ; .*)? \\\n    --hash=sha256:", one) for one in entries)
    assert "://" not in lock
    assert "index" not in lock


@pytest.mark.parametrize("group", GROUPS)
def test_a_lock_has_what_its_group_asks_for(group):
    asked = [Requirement(one).name for one in GROUPS[group] if isinstance(one, str)]
    locked = re.findall(r"^([a-z0-9-]+)==", LOCKS[group], re.MULTILINE)
    assert set(map(canonicalize_name, asked)) <= set(locked)


def test_no_two_locks_pin_two_versions_and_none_is_left_over():
    pins: dict[tuple[str, str], set[str]] = {}
    for lock in LOCKS.values():
        for name, version, marker in re.findall(r"^([a-z0-9-]+)==(\S+)(.*)", lock, re.MULTILINE):
            pins.setdefault((name, marker), set()).add(version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
    assert LOCKS.keys() == GROUPS.keys()


def test_core_is_light():
    """Nothing that a learner doesn't need who serves, checks, loads and compares."""
    names = set(re.findall(r"^([a-z0-9-]+)==", LOCKS["core"], re.MULTILINE))
    assert not names & {"numpy", "scipy", "matplotlib", "jupyterlab", "ipython", "ruff", "uv"}
