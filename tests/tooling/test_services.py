"""The services against real servers: started once, whatever was killed, taken or forbidden before.

Most tests share one state folder, which is started again for each; that it can be, whatever the
test before did, is part of the proof. The others begin with a folder of their own.
"""

import grp
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil
import psycopg2
import pytest

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import (
    External,
    Services,
    database,
    postgres,
    private,
    settings,
    shared,
    stop_leftovers,
)
from workshop.services.account import Account, account, named_account
from workshop.services.daemon import alive, package_folder, port_taken, wait
from workshop.services.ports import free_port
from workshop.services.slots import _version
from workshop.urls import libpq_url

ROWS = """
SELECT md5(string_agg(row, E'\\n' ORDER BY row)) FROM (
    SELECT 'p' || p::text AS row FROM products AS p
    UNION ALL SELECT 'o' || o::text FROM orders AS o
    UNION ALL SELECT 'u' || u::text FROM users AS u
) AS rows
"""
ROWS_MD5 = "6f8848600598c0d60c02dc3df18e1c15"
START = """
import sys
from pathlib import Path
from workshop.services import Services
Services(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])).start()
"""
HOLD_PRIVATE = """
import sys, time
from pathlib import Path
from workshop.services import private
with private(state=Path(sys.argv[1])) as services:
    print(*services.postgres.pids(), services.valkey.pid(), flush=True)
    time.sleep(60)
"""


def new_services(state: Path) -> Services:
    return Services(state, free_port(), free_port(), durable=False)


def quiet(text: str) -> None:
    pass


def ask(url: str, query: str):
    """The first row that the query gives."""
    with database.session(url) as cursor:
        cursor.execute(query)
        return cursor.fetchone()


def run(script: str, *arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)
    PIPES.append(process.stdout)
    return process


PIPES: list[TextIO] = []  # of the processes that a test started


@pytest.fixture(autouse=True)
def pipes_are_closed():
    yield
    while PIPES:
        PIPES.pop().close()


@contextmanager
def stopped_after(services: Services):
    try:
        yield services
    finally:
        services.stop("immediate")


def copy(filled: Path, state: Path) -> None:
    shutil.copytree(filled, state)
    account(Path("/bin/sh"), filled / "postgres" / "data").own(state / "postgres" / "data")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A state folder as the first start leaves it, both servers stopped; to be copied."""
    state = tmp_path_factory.mktemp("filled")
    with stopped_after(new_services(state)) as services:
        services.start(quiet)
        services.stop()
    return state


@pytest.fixture(scope="module")
def place(filled, tmp_path_factory):
    """The state folder and the ports that most tests use in turn, whatever the last one did."""
    state = tmp_path_factory.mktemp("place") / "state"
    copy(filled, state)
    with stopped_after(new_services(state)) as services:
        yield state, services.postgres.port, services.valkey.port


@pytest.fixture
def running(place):
    """Services that run, with pristine rows."""
    services = Services(*place, durable=False)
    services.start(quiet)
    services.fresh_database()
    return services


@pytest.fixture
def services(place):
    """Filled services that do not run."""
    services = Services(*place, durable=False)
    services.stop("immediate")
    return services


@pytest.fixture(scope="module")
def private_state(filled, tmp_path_factory):
    """A state folder whose private base need not be made."""
    state = tmp_path_factory.mktemp("private")
    base = state / "private" / "base"
    copy(filled, base)
    (base / "version").write_text(_version())
    yield state
    stop_leftovers(state)


def complete(services: Services) -> bool:
    return database.complete(services.postgres.url())


def left_over(services: Services) -> list[int]:
    return services.postgres.pids() + services.valkey.pids()


# The first start and the next


def test_rows_are_the_same_on_every_machine(running):
    assert ask(running.postgres.url(), ROWS) == (ROWS_MD5,)


def test_second_start_changes_nothing(running):
    before = running.postgres.pid(), running.valkey.pid()
    running.start(pytest.fail)
    assert (running.postgres.pid(), running.valkey.pid()) == before


def test_environment_reaches_both_servers(running):
    environment = running.environment()
    url = environment["DATABASE_URL"]
    assert url.startswith("postgresql+psycopg2://workshop:workshop@127.0.0.1:")
    assert ask(libpq_url(url), "SELECT current_database()") == ("shop",)
    address = f"@127.0.0.1:{running.valkey.port}/0"
    assert environment["REDIS_URL"] == f"redis://:{running.valkey.password}{address}"
    assert running.valkey.call("PING") == "+PONG"


def test_role_workshop_is_no_superuser_but_may_look_and_reset(running):
    url = running.postgres.url()
    role = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'workshop'"
    assert ask(url, role) == (False, True)
    assert ask(url, "SELECT pg_stat_statements_reset() IS NOT NULL") == (True,)
    assert ask(url, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres'") == (0,)


def test_passwords_are_asked_for_and_travel_as_scram(running):
    wrong = running.postgres.url().replace("workshop@", "guess@")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong)
    rules = "SELECT string_agg(type || ' ' || auth_method, ',') FROM pg_hba_file_rules"
    assert ask(running.postgres.admin(), rules) == ("host scram-sha-256",)
    assert (running.state / "postgres" / "password").stat().st_mode & 0o077 == 0


def test_cache_answers_only_to_those_who_can_read_its_password(running):
    with socket.create_connection(("127.0.0.1", running.valkey.port), timeout=5) as stranger:
        stranger.sendall(b"SET data_response mine\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")
    shown = []
    for pid in left_over(running):
        with suppress(psutil.NoSuchProcess):  # PostgreSQL ends its helpers when it likes
            shown += psutil.Process(pid).cmdline()
    assert running.valkey.password not in " ".join(shown)
    for name in ("password", "valkey.conf"):
        assert (running.valkey.folder / name).stat().st_mode & 0o077 == 0
    before = running.valkey.password
    running.stop()
    running.start(quiet)
    assert running.valkey.password == before  # a shell that was given the URL can go on


@pytest.mark.parametrize("durable, fsync", [(True, "on"), (False, "off")])
def test_only_data_that_can_be_made_again_skips_the_disk(services, durable, fsync):
    services.postgres.durable = durable
    services.start(quiet)
    assert ask(services.postgres.url(), "SHOW fsync") == (fsync,)
    assert ask(services.postgres.url(), "SHOW synchronous_commit") == ("on",)


def test_two_starters_at_once_give_one_server(tmp_path):
    with stopped_after(new_services(tmp_path)) as services:
        ports = services.postgres.port, services.valkey.port
        starters = [run(START, tmp_path, *ports) for _ in range(2)]
        assert [starter.wait(60) for starter in starters] == [0, 0]
        told = "".join(starter.stdout.read() for starter in starters)
        assert told.count("Starting PostgreSQL") == told.count("Starting Valkey") == 1
        assert complete(services)


def test_servers_survive_the_terminal(services):
    ports = services.postgres.port, services.valkey.port
    starter = run(START, services.state, *ports, start_new_session=True)
    starter.wait(60)
    sessions = {os.getsid(pid) for pid in left_over(services)}
    assert services.postgres.running() and services.valkey.running()
    assert starter.pid not in sessions


def test_paused_server_hangs_until_the_next_start(running):
    assert running.valkey.pause() and running.postgres.pause()
    with pytest.raises(TimeoutError):
        running.valkey.call("PING")
    with pytest.raises(psycopg2.OperationalError, match="timeout expired"):
        psycopg2.connect(running.postgres.url(), connect_timeout=2)
    running.start(quiet)
    assert running.valkey.call("PING") == "+PONG"
    assert complete(running)
    running.stop()
    assert not running.valkey.pause() and not running.postgres.pause()


# As root


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers change their user")


@only_root
def test_servers_of_root_run_under_ids_that_no_account_has(running):
    for server in (running.postgres, running.valkey):
        process = psutil.Process(server.pid())
        (uid,), (gid,) = set(process.uids()), set(process.gids())
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)
        with pytest.raises(KeyError):
            grp.getgrgid(gid)


@only_root
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_servers_of_root_can_write_to_nothing_of_roots(running, tmp_path):
    read_search = 1 << 2
    for server in (running.postgres, running.valkey):
        status = Path(f"/proc/{server.pid()}/status").read_text()
        for kind in ("CapEff", "CapPrm", "CapAmb"):
            assert int(re.search(rf"{kind}:\s*(\w+)", status)[1], 16) in (0, read_search)
    tmp_path.chmod(0o700)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(running.postgres.admin(), f"COPY (SELECT 1) TO '{tmp_path}/written'")


@only_root
def test_nobody_reads_neither_password_nor_data(running):
    nobody = pwd.getpwnam("nobody")
    options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    running.state.parent.parent.chmod(0o755)
    running.state.parent.chmod(0o755)
    for path in ("postgres/password", "postgres/data/PG_VERSION", "valkey/password"):
        done = subprocess.run(
            ["cat", running.state / path], capture_output=True, text=True, check=False, **options
        )
        assert done.returncode != 0
        assert not done.stdout


@only_root
def test_data_of_nobody_from_an_earlier_version_goes_to_the_new_account(services, tmp_path):
    nobody = pwd.getpwnam("nobody")
    Account(nobody.pw_uid, nobody.pw_gid).own(services.postgres.folder)
    services.start(quiet)
    assert complete(services)
    assert services.postgres.folder.stat().st_uid not in (0, nobody.pw_uid)


@only_root
def test_links_among_the_data_lead_root_nowhere(services, tmp_path):
    target = tmp_path / "roots"
    target.write_text("roots")
    for name in ("pg_hba.conf", "postgresql.conf"):
        path = services.postgres.folder / name
        path.unlink()
        path.symlink_to(target)
    nobody = pwd.getpwnam("nobody")
    Account(nobody.pw_uid, nobody.pw_gid).own(services.postgres.folder)
    services.start(quiet)
    assert target.read_text() == "roots"
    assert target.stat().st_uid == 0


# After something was killed


@pytest.mark.parametrize("delay", [0.2, 0.5, 0.8, 1.2])
def test_starter_killed_at_any_moment(tmp_path, delay):
    with stopped_after(new_services(tmp_path)) as services:
        starter = run(START, tmp_path, services.postgres.port, services.valkey.port)
        time.sleep(delay)
        starter.kill()
        starter.wait()
        services.start(quiet)
        assert complete(services) and services.valkey.running()
        assert not list(services.postgres.home.glob("new-*"))


def test_starter_killed_while_a_database_is_created(running):
    """The server goes on with the statement of a client that is gone."""
    with database.session(running.postgres.admin()) as admin:
        admin.execute("DROP DATABASE shop")
        admin.execute("ALTER DATABASE shop_template ALLOW_CONNECTIONS true")
        admin.execute("DROP DATABASE shop_template")
    creating = """
        SELECT max(pid) FROM pg_stat_activity
        WHERE query LIKE 'CREATE DATABASE shop_template%' AND backend_xid IS NOT NULL
    """
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    starter = run(START, running.state, running.postgres.port, running.valkey.port)
    with database.session(running.postgres.admin()) as admin, ThreadPoolExecutor(1) as pool:

        def value(query: str) -> int:
            admin.execute(query)
            return admin.fetchone()[0]

        backend = wait(lambda: value(creating), 10)
        os.kill(backend, signal.SIGSTOP)  # in the middle of it
        try:
            starter.kill()
            starter.wait()
            next_start = pool.submit(database.ensure, running.postgres, quiet)
            assert wait(lambda: value(waiting) or next_start.done(), 60)
        finally:
            os.kill(backend, signal.SIGCONT)
        next_start.result()
    assert complete(running)


def test_postmaster_killed_while_a_client_is_at_work(running):
    client = psycopg2.connect(running.postgres.url())
    client.cursor().execute("UPDATE products SET stock = stock WHERE id = 1")
    backends = running.postgres.pids()
    os.kill(running.postgres.pid(), signal.SIGKILL)
    assert wait(lambda: not running.postgres.running(), 10)
    running.start(quiet)
    client.close()
    assert complete(running)
    assert not set(backends) & set(running.postgres.pids())


def test_stopped_process_is_woken_and_killed_valkey_started_again(running):
    os.kill(running.valkey.pid(), signal.SIGSTOP)
    assert not running.valkey.running()
    running.start(quiet)
    os.kill(running.valkey.pid(), signal.SIGKILL)
    running.start(quiet)
    assert running.valkey.running()


def test_pid_file_names_a_process_that_is_not_ours(running):
    """After a reboot the number may belong to anything, even to a process of the same user."""
    postmaster = running.postgres.folder / "postmaster.pid"
    text = postmaster.read_text()
    running.stop("immediate")
    owner = running.postgres.account()
    other = subprocess.Popen([*owner.prefix, "sleep", "60"], **owner.options)
    try:
        postmaster.write_text(text.replace(text.split()[0], str(other.pid), 1))
        assert not running.postgres.running()
        running.start(quiet)
        assert complete(running)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM orders WHERE id > 100000",
        "TRUNCATE orders",
        "DROP TABLE users CASCADE",
        "DROP TABLE shop_version",
    ],
)
def test_half_filled_database_is_filled_again(running, harm):
    with database.session(running.postgres.url()) as cursor:
        cursor.execute(harm)
    running.start(quiet)
    assert ask(running.postgres.url(), ROWS) == (ROWS_MD5,)


def test_half_made_template_and_missing_database_are_made_again(running):
    with database.session(running.postgres.admin()) as admin:
        admin.execute("DROP DATABASE shop")
        admin.execute("ALTER DATABASE shop_template ALLOW_CONNECTIONS true")
    with database.session(running.postgres.url("shop_template")) as cursor:
        cursor.execute("DROP TABLE orders")
    running.start(quiet)
    assert complete(running)


def test_database_of_another_version_is_filled_again(running, monkeypatch):
    url = running.postgres.url()
    with monkeypatch.context() as patched:
        patched.setattr(database, "VERSION", "another")
        running.start(quiet)
    assert ask(url, "SELECT version FROM shop_version") == ("another",)
    running.start(quiet)
    assert ask(url, "SELECT version FROM shop_version") == (database.VERSION,)


def test_orders_of_the_learner_stay(running):
    with database.session(running.postgres.url()) as cursor:
        cursor.execute("INSERT INTO orders (product_id, quantity, total_cents) VALUES (1, 1, 1)")
        cursor.execute("UPDATE products SET stock = 0 WHERE id = 1")
    running.stop("fast")
    running.start(quiet)
    assert ask(running.postgres.url(), "SELECT max(id) FROM orders") == (200001,)
    assert ask(running.postgres.url(), "SELECT stock FROM products WHERE id = 1") == (0,)


# Ports


@pytest.mark.parametrize("server, name", [("postgres", "POSTGRES_PORT"), ("valkey", "REDIS_PORT")])
def test_taken_port_names_the_setting(services, server, name):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        getattr(services, server).port = listener.getsockname()[1]
        with pytest.raises(WorkshopError, match=f"taken by another program: set {name} .* .env"):
            services.start(quiet)


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_port_of_a_connection_that_ends_is_waited_for(services, server):
    """As the system may give an outgoing connection any of a range of ports, and keeps it then."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.bind(("127.0.0.1", free_port()))
        client.connect(listener.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        port = getattr(services, server).port = client.getsockname()[1]

        def log(text):
            if text.startswith(f"Waiting for port {port}"):
                client.close()

        services.start(log)
        assert client.fileno() == -1, "the services started on a port that was taken"
    assert complete(services)


def test_foreign_servers_are_left_alone(running, filled, tmp_path):
    copy(filled, tmp_path / "mine")
    mine = Services(tmp_path / "mine", running.postgres.port, running.valkey.port, durable=False)
    before = running.postgres.pid(), running.valkey.pid()
    running.valkey.call("SET kept yes")
    for start in (mine.start_postgres, mine.start_valkey):
        with pytest.raises(WorkshopError, match="taken"):
            start(quiet)
    mine.stop()
    assert (running.postgres.pid(), running.valkey.pid()) == before
    assert running.valkey.call("EXISTS kept") == ":1"


def test_changed_ports_restart_our_servers_there(running):
    moved = Services(running.state, free_port(), free_port(), durable=False)
    assert not moved.postgres.running() and not moved.valkey.running()
    moved.start(quiet)
    assert complete(moved) and moved.valkey.running()
    assert port_taken(moved.postgres.port) and not port_taken(running.postgres.port)
    assert not port_taken(running.valkey.port)


# Folders


def test_path_with_spaces_quotes_and_great_length(tmp_path):
    state = tmp_path.joinpath(*['it\'s "long" $HOME `x` \\ and ü' * 4] * 5)
    state.mkdir(parents=True)
    state.parent.chmod(0o700)
    with stopped_after(new_services(state)) as services:
        services.postgres.create()
        services.postgres.start()
        services.start_valkey(quiet)
        assert services.postgres.running() and services.valkey.running()


def test_path_too_long_for_postgresql(tmp_path):
    state = tmp_path.joinpath(*["long" * 50] * 5)
    with pytest.raises(WorkshopError, match="too long for PostgreSQL"):
        new_services(state).start(quiet)


def test_installation_path_that_a_shell_would_misread(tmp_path, monkeypatch):
    """Here every path counts as such: the copy of the programs makes the data folder."""
    monkeypatch.setattr(postgres, "SHELL_SIGNS", {"/"})
    with stopped_after(new_services(tmp_path)) as services:
        services.postgres.create()
        services.postgres.start()
        assert services.postgres.running()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(WorkshopError, match=r"Cannot use .*state"):
        new_services(tmp_path / "state").start(quiet)


def test_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(WorkshopError, match="disk is full"),
        database.plain_errors(tmp_path),
        open("/dev/full" if Path("/dev/full").exists() else tmp_path / "x", "w") as device,
    ):
        device.write("x")
        device.flush()
        raise OSError(28, "No space left on device")
    log = "FATAL:  could not write lock file: No space left on device"
    assert "disk is full" in new_services(tmp_path).postgres._reason(log)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="gives up root's rights; without them all other tests show it"
)
def test_as_an_ordinary_user(tmp_path):
    """Here the whole of the workshop runs as nobody."""
    state = tmp_path / "state"
    state.mkdir()
    owner = named_account(Path(sys.executable), state)
    owner.own(state)
    with stopped_after(new_services(state)) as services:
        command = [*owner.prefix, sys.executable, "-c", START, str(state)]
        command += [str(services.postgres.port), str(services.valkey.port)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, **owner.options)
        assert {psutil.Process(pid).uids().real for pid in left_over(services)} == {owner.uid}
        assert (state / "lock").stat().st_uid == owner.uid
        services.start(pytest.fail)
        assert complete(services)


def test_a_package_that_is_missing_is_named():
    with pytest.raises(WorkshopError, match=r"^The package no_such is missing: remove \.venv"):
        package_folder("no_such")


# Stopping, and starting afresh


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_stop_leaves_no_process(running, mode):
    with psycopg2.connect(running.postgres.url()):
        before = [psutil.Process(pid) for pid in left_over(running)]
        assert len(before) > 3
        running.stop(mode)
    assert not left_over(running)
    assert not [p for p in before if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not port_taken(running.postgres.port) and not port_taken(running.valkey.port)


def test_stop_ends_what_killed_owners_of_private_servers_left(private_state):
    owner = run(HOLD_PRIVATE, private_state)
    pids = list(map(int, owner.stdout.readline().split()))
    with private(state=private_state) as used:
        owner.kill()
        owner.wait()
        Services(private_state).stop()
        assert not alive(pids[0]) and not alive(pids[-1])
        assert used.postgres.running() and used.valkey.running()


def test_stop_before_any_start(tmp_path):
    new_services(tmp_path / "none").stop()
    assert not (tmp_path / "none").exists()


def test_fresh_database_forgets_everything(running):
    url = running.postgres.url()
    with database.session(url) as cursor:
        cursor.execute("INSERT INTO orders (product_id, quantity, total_cents) VALUES (1, 1, 1)")
        cursor.execute("UPDATE products SET stock = 0")
        cursor.execute("CREATE TABLE mine (id int)")
    running.valkey.call("SET data_response stale")
    running.fresh_database()
    assert ask(url, "SELECT sum(calls)::int <= 2 FROM pg_stat_statements") == (True,)
    assert ask(url, ROWS) == (ROWS_MD5,)
    assert ask(url, "SELECT to_regclass('mine')") == (None,)
    assert running.valkey.call("DBSIZE") == ":0"


# Private servers


def test_private_slots_are_apart_and_pristine_again(private_state):
    with private(state=private_state) as one, private(state=private_state) as two:
        assert one.state != two.state
        assert one.postgres.port != two.postgres.port
        with database.session(one.postgres.url()) as cursor:
            cursor.execute("DELETE FROM orders")
        assert complete(two)
    assert not left_over(one) and not left_over(two)
    with private(state=private_state) as again:
        assert again.state == one.state
        assert complete(again)


def test_private_servers_of_who_times_no_connection_hash_once(private_state):
    stored = "SELECT split_part(rolpassword, ':', 1) FROM pg_authid WHERE rolname = 'workshop'"
    # The slot is the same: whoever takes it next measures at the usual cost.
    for options, iterations in ({"scram_iterations": 1}, 1), ({}, 4096):
        with private(state=private_state, **options) as services:
            assert ask(services.postgres.admin(), stored) == (f"SCRAM-SHA-256${iterations}",)
            assert complete(services)


def test_errors_inside_private_come_through_and_stop_the_servers(private_state):
    with pytest.raises(FileNotFoundError), private(state=private_state) as services:
        Path("/no/such/file").read_text()
    assert not left_over(services)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_private_servers_end_with_an_interrupted_owner(private_state, number):
    owner = run(HOLD_PRIVATE, private_state, stderr=subprocess.DEVNULL)
    pids = list(map(int, owner.stdout.readline().split()))
    owner.send_signal(number)
    assert owner.wait(20) != 0
    assert not any(alive(pid) for pid in pids)


def test_slot_of_a_killed_owner_is_cleaned_by_the_next(private_state):
    owner = run(HOLD_PRIVATE, private_state)
    pids = list(map(int, owner.stdout.readline().split()))
    owner.kill()
    owner.wait()
    assert alive(pids[0]) and alive(pids[-1])
    with private(state=private_state) as services:
        assert services.state.name == "1"
        assert not any(map(alive, pids))
        assert complete(services)


# Servers of somebody else


@pytest.fixture
def elsewhere(running, monkeypatch, tmp_path):
    """The settings of a learner whose servers are named by their URLs."""
    with database.session(running.postgres.admin()) as admin:
        admin.execute("DROP DATABASE IF EXISTS class WITH (FORCE)")
        admin.execute("CREATE DATABASE class OWNER workshop")
    url = running.postgres.url("class")
    monkeypatch.setenv("DATABASE_URL", url.replace("postgresql", "postgres"))
    monkeypatch.setenv("REDIS_URL", running.valkey.url)
    return shared(tmp_path / "unused")


def test_named_servers_are_used_and_an_empty_database_filled(elsewhere, tmp_path):
    assert isinstance(elsewhere, External)
    elsewhere.start(quiet)
    elsewhere.start(pytest.fail)
    url = elsewhere.environment()["DATABASE_URL"]
    assert url.startswith("postgresql+psycopg2://workshop:workshop@")
    assert ask(libpq_url(url), ROWS) == (ROWS_MD5,)
    elsewhere.stop()
    assert not (tmp_path / "unused").exists()


def test_a_shell_with_what_make_services_prints_names_our_own(running, monkeypatch):
    """`eval "$(make services)"`, and later `make services` in the same shell: it starts them."""
    for name, url in running.environment().items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("POSTGRES_PORT", str(running.postgres.port))
    monkeypatch.setenv("REDIS_PORT", str(running.valkey.port))
    assert isinstance(shared(running.state), Services)
    monkeypatch.setenv("DATABASE_URL", running.postgres.url("another"))
    assert shared(running.state).named() == ["DATABASE_URL"]


def test_named_database_of_another_version_is_refused_in_a_sentence(elsewhere):
    elsewhere.start(quiet)
    with database.session(libpq_url(elsewhere.database_url)) as cursor:
        cursor.execute("UPDATE shop_version SET version = 'another'")
    with pytest.raises(WorkshopError, match="filled by another version of the workshop: name an"):
        elsewhere.start(quiet)


def test_named_database_with_other_tables_is_not_touched(elsewhere):
    url = libpq_url(elsewhere.database_url)
    with database.session(url) as cursor:
        cursor.execute("CREATE TABLE orders (theirs text)")
    with pytest.raises(WorkshopError, match="tables that are not the workshop's"):
        elsewhere.start(quiet)
    assert ask(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == (1,)


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("DATABASE_URL", "postgresql://a:secret@127.0.0.1:1/x", "DATABASE_URL names does not answ"),
        ("DATABASE_URL", "mysql://127.0.0.1/x", "must begin with postgresql://"),
        ("POSTGRES_PORT", "abc", "POSTGRES_PORT is 'abc'"),
        ("REDIS_PORT", "80", "REDIS_PORT is '80'"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(WorkshopError, match=told) as error:
        shared(tmp_path).start(quiet)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rubbish"])
def test_redis_url_that_leads_nowhere(elsewhere, url):
    elsewhere.redis_url = url
    with pytest.raises(WorkshopError, match="REDIS_URL names does not answer"):
        elsewhere.start(quiet)


def test_settings_come_from_the_environment_then_from_env_file(tmp_path, monkeypatch):
    monkeypatch.delenv("REDIS_PORT", raising=False)
    (tmp_path / ".env").write_text("REDIS_PORT=7000\n")
    assert settings.setting("REDIS_PORT", "1", root=tmp_path) == "7000"
    monkeypatch.setenv("REDIS_PORT", "8000")
    assert settings.setting("REDIS_PORT", "1", root=tmp_path) == "8000"
