"""Running the checks: against folders and URLs, side by side, and to their end."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from blackbox import CheckFailed, eventually, expect
from leftovers import gone
from tables import expect_each

from workshop.checking import flakiness, leftovers, marking, runner
from workshop.checking.mistakes import apply, mistake
from workshop.checking.outcome import Observer, Outcome
from workshop.paths import ROOT
from workshop.server import last_traceback
from workshop.steps import step, steps
from workshop.target import Target, served

FREE_OF_SETTINGS = ["root_tells_the_step", "missing_product_is_a_404", "unknown_route_is_told"]


def checks(*ids: str):
    known = {check.id: check for s in (1, 2, 3, 4, 5) for check in step(s).checks.values()}
    return [known[id] for id in ids]


def check(*words: str, **options) -> subprocess.Popen:
    """`python -m workshop check …` with its output in a pipe."""
    environment = {k: v for k, v in os.environ.items() if k not in ("N", "APP", "M", "URL")}
    return subprocess.Popen(
        [sys.executable, "-m", "workshop", "check", *words],
        cwd=ROOT,
        env=environment | options.pop("env", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


class Heard(Observer):
    def __init__(self):
        self.began, self.ended, self.crashes = {}, {}, []

    def on_start(self, check):
        self.began[check.id] = time.monotonic()

    def on_result(self, outcome):
        self.ended[outcome.check.id] = time.monotonic()

    def on_crash(self, outcome):
        self.crashes.append(outcome)


@pytest.fixture
def tiny():
    """The URL of a step of a few lines, which needs no database."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Tiny) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Tiny(BaseHTTPRequestHandler):
    def do_GET(self):
        index = {"step": "tiny", "technique": "none"}
        status, body = (200, index) if self.path == "/" else (404, {"message": "none"})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.fast
def test_a_tiny_step_at_a_url_passes_fails_and_is_spared(tiny):
    heard = Heard()
    wanted = checks("root_tells_the_step", "missing_product_is_a_404", "report_adds_up")
    right, short, aside = runner.run(1, Target.at(tiny), wanted, heard)
    assert right.passed and not right.not_applicable
    assert (short.passed, short.by_assertion) == (False, True)
    assert "404 application/json" in short.message
    assert short.message.splitlines()[-1].startswith("also: 2 more cases: /products/5001, ")
    assert aside.not_applicable == "needs the app's PostgreSQL and Redis, and only its URL is known"
    assert set(heard.ended) == {check.id for check in wanted}


@pytest.fixture
def app(tmp_path):
    """A copy of step 2, to be changed."""
    return shutil.copytree(
        step(2).path, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")
    )


def test_checks_run_side_by_side_and_share_nothing():
    """One stops PostgreSQL while the other asks it, each its own."""
    heard = Heard()
    wanted = checks("postgresql_away_is_a_503", "input_is_never_sql", "report_adds_up")
    outcomes = runner.run(2, step(2).path, wanted, heard, lanes=2)
    assert [o.check for o in outcomes] == wanted
    assert all(o.passed for o in outcomes)
    assert max(list(heard.began.values())[:2]) < min(heard.ended.values())


def test_a_url_meets_the_checks_that_need_nothing_but_answers():
    wanted = checks(*FREE_OF_SETTINGS, "waits_overlap", "order_survives_sigterm", "report_adds_up")
    with served(step(2)) as (server,):
        outcomes = runner.run(2, Target.at(server.url), wanted)
    assert all(o.passed for o in outcomes), [o.message for o in outcomes]
    assert [o.not_applicable for o in outcomes] == [
        "",
        "",
        "",
        "needs to start the app with settings of its own, and it runs already",
        "needs the app's PostgreSQL and Redis, and only its URL is known",
        "needs the app's PostgreSQL and Redis, and only its URL is known",
    ]


def test_a_url_that_answers_wrongly_fails(tmp_path):
    broken = apply(mistake(1, "error_as_html"), tmp_path / "step01_basic")
    with served(broken) as (server,):
        (outcome,) = runner.run(1, Target.at(server.url), checks("unknown_route_is_told"))
    assert not outcome.passed
    assert outcome.by_assertion


def test_a_folder_names_the_checks_that_do_not_apply(app):
    (app / "target.toml").write_text('[not_applicable]\nwaits_overlap = "it has no supplier"\n')
    wanted = checks("waits_overlap", "root_tells_the_step")
    outcomes = runner.run(2, app, wanted)
    assert [o.not_applicable for o in outcomes] == ["it has no supplier", ""]


def test_packages_are_compiled_once_and_nothing_is_left_in_the_folder(app):
    assert all(outcome.passed for outcome in runner.run(2, app, checks("root_tells_the_step")))
    compiled = list(runner.BYTECODE.rglob("*.pyc"))
    assert any(file.parent.name == "flask" for file in compiled)
    assert not [file for file in compiled if file.is_relative_to(runner.bytecode_of(app))]
    assert not list(app.rglob("*.pyc"))


def test_an_app_that_crashes_at_start_is_one_failure_at_once(app):
    (app / "app.py").write_text("import flask\n\ndef broken(:\n    pass\n")
    process = check("2", "--app", str(app))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.count("✗") == 1
    assert "app.py, line 3" in output
    assert "SyntaxError" in output
    assert "hint" not in output
    assert "Traceback" not in output


def test_an_app_that_crashes_with_one_setting_only_fails_the_checks_that_give_it(app):
    source = (app / "server.py").read_text()
    crash = 'import os\nif os.environ.get("SUPPLIER_DELAY"):\n    raise SystemExit("no delay")\n'
    (app / "server.py").write_text(crash + source)
    heard = Heard()
    slow, usual = runner.run(2, app, checks("waits_overlap", "order_survives_sigterm"), heard)
    assert "no delay" in slow.message
    assert usual.passed
    assert not heard.crashes


@pytest.mark.parametrize(
    "line, error",
    [
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
        ("from flask import Flusk", "ImportError: cannot import name 'Flusk' from 'flask'"),
        ("SECRET = os.environ['NOT_SET']", "KeyError: 'NOT_SET'"),
    ],
)
def test_a_crash_at_start_names_its_place(app, line, error):
    (app / "server.py").write_text(f"import os\n\n{line}\n")
    heard = Heard()
    outcomes = runner.run(2, app, checks("waits_overlap", "root_tells_the_step"), heard)
    assert [outcome.crashed for outcome in outcomes] == [True, True]
    assert len(heard.crashes) == 1
    place, code, said = heard.crashes[0].trace
    assert place == "server.py, line 3, in <module>"
    assert code.strip() == line
    assert said.startswith(error)


@pytest.mark.parametrize("last", ["", "raise SystemExit(0)\n"])
def test_an_app_that_ends_without_a_word_says_so(app, last):
    (app / "server.py").write_text(last)
    (outcome,) = runner.run(2, app, checks("waits_overlap"))
    assert outcome.crashed
    assert "exit code 0" in outcome.message
    assert "printed nothing" in outcome.message


@pytest.mark.parametrize(
    "line, file, place, error",
    [
        ("1 / 0", "app.py", "in index", "ZeroDivisionError: division by zero"),
        ("import lazy", "lazy.py", "line 2", "SyntaxError: invalid syntax"),
    ],
)
def test_a_500_shows_where_the_app_raised(app, line, file, place, error):
    source = (app / "app.py").read_text()
    (app / "app.py").write_text(source.replace("def index():\n", f"def index():\n    {line}\n"))
    (app / "lazy.py").write_text("import flask\nVALUE = = 1\n")
    (outcome,) = runner.run(2, app, checks("root_tells_the_step"))
    assert not outcome.crashed
    assert outcome.trace[0].startswith(f"{file}, line ")
    assert outcome.trace[0].endswith(place)
    assert outcome.trace[-1] == error


def test_a_failure_has_the_hint_of_what_failed_and_makes_other_passes_say_nothing(tmp_path):
    """Without draining an order is lost; that a restart waits for no idle client means nothing."""
    broken = apply(mistake(2, "no_draining"), tmp_path / "step02_gevent")
    wanted = checks("restart_waits_for_no_idle_client", "order_survives_sigterm")
    restart, order = runner.run(2, broken, wanted)
    assert "no answer; the process ended " in order.message
    assert order.hint == "ended_too_soon"
    assert (restart.waits_for, restart.counts_as_passed) == (order.check, False)


def test_an_app_that_refuses_every_login_earns_nothing_by_it(tmp_path):
    app = shutil.copytree(step(5).path, tmp_path / "step05_jwt")
    source = (app / "app.py").read_text()
    login = "return auth.login(username, password)"
    assert login in source
    (app / "app.py").write_text(source.replace(login, 'abort(401, "Invalid credentials")'))
    wanted = checks(
        "wrong_login_is_a_401", "odd_login_is_a_401", "token_is_needed",
        "login_takes_the_same_time", "stored_hash_is_no_password", "login_gives_a_token",
        "password_is_looked_up_each_time",
    )  # fmt: skip
    outcomes = runner.run(5, app, wanted)
    assert [outcome.check.id for outcome in outcomes if outcome.counts_as_passed] == []
    assert all(outcome.passed and outcome.waits_for for outcome in outcomes[:4])
    assert not any(outcome.passed for outcome in outcomes[4:])


@pytest.mark.fast
def test_a_table_of_cases_fails_with_its_first_failure_and_the_names_of_the_others():
    def check(name, is_right):
        expect(is_right, f"tried {name}", "nothing", "something", hint="empty")

    with pytest.raises(CheckFailed) as failure:
        expect_each({"a": True, "b": False, "c": True, "d": False}, check)
    assert str(failure.value) == (
        "did: tried b\ngot: nothing\nexpected: something\nalso: 1 more case: d"
    )
    assert failure.value.hint == "empty"
    expect_each({"a": True}, check)


def test_the_last_traceback_is_read_from_its_innermost_own_line(tmp_path):
    output = f"""Traceback (most recent call last):
  File "{tmp_path}/app.py", line 1, in first
    first()
ValueError: the first
some request
Traceback (most recent call last):
  File "/lib/flask/app.py", line 9, in dispatch
    return view()
  File "{tmp_path}/app.py", line 7, in report
    rows = query(
           ^^^^^^
  File "/lib/sqlalchemy/engine.py", line 3, in execute
    raise error
KeyError: 'rows'
"""
    expected = ["app.py, line 7, in report", "    rows = query(", "KeyError: 'rows'"]
    assert last_traceback(output, tmp_path) == expected
    assert last_traceback("no traceback\n", tmp_path) == []
    assert last_traceback('  File "cut off', tmp_path) == []


@pytest.mark.fast
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_pass_waits_for_the_checks_without_which_it_says_nothing(order):
    """Whichever ends first, and where what a check needs isn't reached either."""
    login, refused, mine = checks("login_gives_a_token", "token_is_needed", "claims_are_verified")
    refused, mine = replace(refused, needs=[login.id]), replace(mine, needs=[refused.id])
    ended = [Outcome(login, False), Outcome(refused, True), Outcome(mine, True)]
    heard = Heard()
    run = runner.Run(5, step(5).path, [login, refused, mine])
    for number in order:
        run._settle(ended[number], heard)
    assert list(heard.ended) == [login.id, refused.id, mine.id]
    assert [outcome.waits_for for outcome in ended] == [None, login, login]


@pytest.mark.fast
def test_what_is_not_checked_is_not_waited_for(tiny):
    (right,) = checks("root_tells_the_step")
    (outcome,) = runner.run(1, Target.at(tiny), [replace(right, needs=["report_adds_up"])])
    assert outcome.counts_as_passed


def test_a_proxy_changes_nothing_and_a_report_for_tools_holds_all_checks(tmp_path):
    dead = "http://127.0.0.1:9"
    proxies = {"http_proxy": dead, "HTTP_PROXY": dead, "all_proxy": dead, "no_proxy": ""}
    report = tmp_path / "report.xml"
    process = check("1", "--report", str(report), env=proxies)
    output, _ = process.communicate(timeout=120)
    assert f"{len(step(1).checks)} passed, 0 failed" in output
    assert all(f'name="{id}"' in report.read_text() for id in step(1).checks)


def test_two_hundred_clients_are_served_where_256_files_are_allowed():
    """As macOS allows; the command raises its own limit."""
    process = subprocess.run(
        [sys.executable, "-c", FEW_FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        ),
    )
    assert process.stdout.strip() == "True", process.stderr


FEW_FILES = """
from workshop.checking import runner
from workshop.steps import step, steps
check = step(2).checks["two_hundred_clients_stay_connected"]
if __name__ == "__main__":
    print(all(o.passed for o in runner.run(2, step(2).path, [check])))
"""


def test_a_killed_command_leaves_no_servers_behind():
    process = check("2", "--app", str(step(2).path), start_new_session=True)
    for line in process.stdout:
        if "✓" in line:
            break
    servers = marked(process.pid)
    family = psutil.Process(process.pid).children(recursive=True)
    assert servers
    process.kill()
    process.communicate()
    assert gone([p.pid for p in [*servers, *family]])


def test_stop_ends_the_apps_of_a_run_whose_process_is_gone(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    mark = f"{ROOT}|{ended.pid}|1.5|abc"
    orphan = sleeper(mark)
    mine, another = sleeper(leftovers.new_mark()), sleeper(mark.replace(str(ROOT), "/elsewhere"))
    try:
        leftovers.end_orphans()
        assert orphan.wait(10) == -signal.SIGKILL
        assert mine.poll() is None and another.poll() is None
    finally:
        for process in (orphan, mine, another):
            process.kill()
            process.wait()


def sleeper(mark: str) -> subprocess.Popen:
    process = subprocess.Popen(["sleep", "600"], env=os.environ | {leftovers.MARK: mark})
    eventually(lambda: psutil.Process(process.pid).name() == "sleep")
    return process


def marked(pid: int) -> list[psutil.Process]:
    """The processes that come of the run of this process."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"|{pid}|" in process.environ().get(leftovers.MARK, ""):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_number_that_is_missing_is_asked_for():
    output, _ = check().communicate(timeout=60)
    assert output.strip() == "✗ Say which step, for instance: make check 2"


@pytest.mark.thorough
@pytest.mark.parametrize("chosen", steps(), ids=lambda s: s.folder)
def test_no_check_ever_fails_with_all_cores_busy(chosen):
    failures = flakiness.runs(chosen, 5, lambda number, failed: print(number, failed))
    assert not failures


@pytest.mark.thorough
def test_a_class_of_thirty_is_marked(tmp_path):
    for number in range(30):
        chosen = step(3) if number % 3 else step(2)
        shutil.copytree(chosen.path, tmp_path / f"learner{number:02}")
    marks = marking.mark(step(3), tmp_path)
    assert [m.verdict for m in marks] == ["pass" if n % 3 else "fail" for n in range(30)]


@pytest.mark.parametrize("level, code", [("core", 0), ("production", 1)])
def test_the_core_decides_unless_all_is_asked_for(tmp_path, level, code):
    app = apply(mistake(2, production_mistake()), tmp_path / "step02_gevent")
    process = check("2", "--app", str(app), "--level", level)
    process.communicate(timeout=120)
    assert process.returncode == code


def production_mistake() -> str:
    """A mistake of step 2 that only checks for production catch."""
    from workshop.checking.mistakes import mistakes
    from workshop.steps import checks_up_to

    core = {c.id for c in checks_up_to(2) if c.level == "core"}
    return next(m.name for m in mistakes(2) if not m.fails & core)
