"""The commands, as a learner gives them, on services of the test's own."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from unittest.mock import Mock

import psutil
import pytest

from workshop.__main__ import main
from workshop.learning import learner
from workshop.paths import ROOT
from workshop.services import private, shared
from workshop.services.ports import free_port
from workshop.setup import doctor


@pytest.fixture(scope="module")
def services():
    with private() as own:
        yield own


def command(*words, **settings):
    """Start `python -m workshop …`, its output in a pipe that is read to the end."""
    env = os.environ | {name: str(value) for name, value in settings.items()}
    for name in ("N", "APP", "M", "PORT"):
        if name not in settings:
            env.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "workshop", *words],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # Ctrl-C reaches all of it, and not us
    )


def said(*words, **settings) -> tuple[int, str]:
    process = command(*words, **settings)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def until(process, text: str) -> str:
    """The output up to the line that has the text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_step_serves_says_what_to_try_and_ends_with_ctrl_c(services):
    process = command("step", "2", PORT=free_port(), **services.environment())
    shown = until(process, "Ctrl-C")
    url = re.search(r"http://127\.0\.0\.1:\d+", shown)[0]
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert b"step02_gevent" in answer.read()
    assert shown.count("curl") >= 3
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=15)
    assert "Traceback" not in rest
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


@pytest.mark.parametrize("seconds", [0.0, 0.15, 0.3, 0.6, 1.5])
def test_check_ends_with_ctrl_c_at_any_moment(seconds):
    process = command("check", "2")
    begun = until(process, "Checking")
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in begun + rest


def test_mistake_is_served_with_what_to_look_for(services):
    settings = {"N": 2, "M": "unpatched", "PORT": free_port()}
    process = command("mistake", **settings, **services.environment())
    shown = until(process, "Ctrl-C")
    assert "Look: " in shown
    assert "make check 2 M=unpatched" in shown
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)


def test_services_print_what_a_shell_can_take_over(services):
    script = 'eval "$("$0" -m workshop services)"; echo "$DATABASE_URL $REDIS_URL"'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=ROOT,
        env=os.environ | services.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == list(services.environment().values())


def test_password_of_the_database_is_on_no_command_line(services):
    env = os.environ | services.environment()
    with subprocess.Popen(
        [sys.executable, "-m", "workshop", "psql"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as psql:
        psql.stdin.write("SELECT 'seen';\n")
        psql.stdin.flush()
        until(psql, "seen")
        shown = " ".join(psutil.Process(psql.pid).cmdline())
        assert f"port={services.postgres.port}" in shown
        assert "workshop:" not in shown
        assert "password" not in shown
        psql.communicate("SELECT 1;\n")
    assert psql.returncode == 0


def test_servers_of_others_are_not_paused(services):
    code, shown = said("pause", SERVICE="valkey", **services.environment())
    assert code == 1
    assert "only our own servers" in shown


def test_mistakes_are_listed():
    code, shown = said("mistake", "2")
    assert code == 0
    assert "unpatched" in shown


@pytest.mark.parametrize(
    "words, settings, sentence",
    [
        (["step", "9"], {}, "There is no step 9"),
        (["check", "two"], {}, "not a valid integer"),
        (["check", "2"], {"APP": "nowhere"}, "There is no app.py"),
        (["check", "2"], {"M": "nothing"}, "`make mistake 2` lists them"),
        (["load"], {}, "Name what to load"),
        (["load"], {"URL": "http://127.0.0.1:9/"}, "127.0.0.1:9"),
        (["pause"], {}, "make pause SERVICE=valkey"),
        (["start", "1"], {}, "Step 1 has nothing to build"),
        (["check"], {}, "Say which step, for instance: make check 2"),
        (["hint", "2"], {"CHECK": "wait_overlaps"}, "Did you mean waits_overlap"),
        (["mark", "2"], {"DIR": "nowhere"}, "There is no folder"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(words, settings, sentence):
    code, shown = said(*words, **settings)
    assert code in (1, 2)
    assert sentence in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 1


def test_clone_that_cannot_be_written_is_one_sentence(monkeypatch, capsys):
    refusal = OSError(errno.EROFS, os.strerror(errno.EROFS), "work/step02_gevent")
    monkeypatch.setattr(learner, "start", Mock(side_effect=refusal))
    monkeypatch.setattr(sys, "argv", ["workshop", "start", "2"])
    assert main() == 1
    told = capsys.readouterr().err
    assert "Cannot use work/step02_gevent (Read-only file system)" in told
    assert len(told.strip().splitlines()) == 1


def test_a_taken_port_is_told(services):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, shown = said("step", "2", PORT=port, **services.environment())
    assert code == 1
    assert f"Port {port} is taken" in shown


def test_no_colour_where_none_is_wanted():
    inside, outside = os.openpty()
    env = os.environ | {"NO_COLOR": "1"}
    command = [sys.executable, "-m", "workshop", "diff", "9"]
    subprocess.run(command, cwd=ROOT, env=env, stdout=outside, stderr=outside, check=False)
    shown = os.read(inside, 1000).decode()
    os.close(outside)
    os.close(inside)
    assert "There is no step 9" in shown
    assert "\033[" not in shown


def test_diff_shows_code_alone():
    _, shown = said("diff", "2")
    assert "README.md" not in shown
    assert "alternatives" not in shown


def test_diff_shows_the_one_technique():
    code, shown = said("diff", "2")
    assert code == 0
    assert "+monkey.patch_all()" in shown


def test_doctor_holds_nothing_private():
    code, shown = said("doctor")
    assert code == 0
    assert "Python" in shown
    for private_word in (os.path.expanduser("~"), str(ROOT), os.uname().nodename):
        assert private_word not in shown or len(private_word) < 4


def test_doctor_starts_nothing_and_names_what_does_not_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "shared", lambda: shared(tmp_path / "state"))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    finding = doctor.services()
    assert "PostgreSQL is stopped" in finding.found
    assert "REDIS_URL doesn't answer" in finding.advice
    assert not (tmp_path / "state").exists()
    monkeypatch.setenv("POSTGRES_PORT", "none")
    assert "POSTGRES_PORT" in doctor.services().advice


@pytest.mark.parametrize(
    "no_proxy, warned", [("", True), ("example.org", True), ("localhost,127.0.0.1", False)]
)
def test_doctor_warns_of_a_proxy_between_us_and_our_servers(monkeypatch, no_proxy, warned):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert ("no_proxy" in doctor.proxy().advice) == warned


def test_doctor_says_that_an_old_system_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("glibc", "2.27"))
    assert "glibc 2.28" in doctor.system().advice
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert not doctor.system().advice


def test_doctor_names_the_packages_that_are_there(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("flask", "no-such-package"))
    assert re.fullmatch(r"flask [\d.]+", doctor.packages().found)
