"""The load driver against a real server: counts, errors by kind, both loops, interruptions."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from urllib.request import urlopen

import psutil
import pytest
from blackbox import eventually
from loadserver import serving
from rich.console import Console

from workshop.errors import WorkshopError
from workshop.load import Login, Request, load, load_sync
from workshop.measuring.latency import Latencies, samples_needed
from workshop.measuring.machine import fingerprint
from workshop.measuring.progress import progress_bar
from workshop.measuring.result import CLOSED_LOOP_NOTE
from workshop.paths import ROOT

SHORT = {"seconds": 0.2, "warmup": 0.0, "connections": 4}


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


def counts(url) -> dict[str, int]:
    with urlopen(f"{url}/counts") as answer:
        return json.load(answer)


def until(holds, seconds=10.0):
    value = eventually(holds, seconds)
    assert value, "it did not come to be"
    return value


def test_counts_what_the_server_counts(url):
    result = load_sync(f"{url}/ok?counted", **SHORT)
    assert 0 < result.requests <= counts(url)["GET /ok?counted"] <= result.requests + 4
    assert result.errors == {} and result.reconnects == 0
    assert len(result.latencies) == result.requests
    assert result.throughput == pytest.approx(result.requests / result.seconds)


def test_warm_up_is_asked_and_not_counted(url):
    result = load_sync(f"{url}/wait?warm", seconds=0.2, warmup=0.4, connections=4)
    assert counts(url)["GET /wait?warm"] > 1.5 * result.requests
    assert result.seconds == pytest.approx(0.2, abs=0.01)


def test_tells_errors_apart_and_keeps_them_out(url):
    paths = ["/ok", "/missing", "/busy", "/reset", "/garbage"]
    result = load_sync(url, [Request(path=path) for path in paths], **SHORT)
    assert set(result.errors) == {"status 404", "status 503", "reset", "bad answer"}
    assert result.requests == len(result.latencies) == len(result.by_request[0].latencies)
    assert [len(part.latencies) for part in result.by_request[1:]] == [0, 0, 0, 0]
    assert "More than 1 % of the requests failed" in str(result)


@pytest.mark.parametrize("rate", [None, 20])
def test_gives_up_after_the_timeout(url, rate):
    result = load_sync(f"{url}/never", seconds=0.5, warmup=0, connections=2, timeout=0.2, rate=rate)
    assert set(result.errors) == {"timeout"} and result.requests == 0
    assert result.p50 is None


@pytest.mark.parametrize("path", ["/closing", "/old", "/drop"])
def test_a_server_that_closes_is_no_error(url, path):
    result = load_sync(f"{url}{path}", **SHORT)
    assert result.errors == {}
    assert result.reconnects + result.retries >= result.requests - 4 > 0


@pytest.mark.parametrize("path", ["/chunked", "/slow-chunked", "/continue", "/empty"])
def test_knows_where_an_answer_ends(url, path):
    result = load_sync(f"{url}{path}", **SHORT)
    assert result.errors == {} and result.requests > 0 and result.reconnects == 0


def test_sends_token_headers_and_bodies(url):
    post = Request("POST", "/orders/{id}", {"X-Mine": "1"}, {"product_id": "{id}"}, ids=(7, 7))
    result = load_sync(url, [post], login=Login({"username": "a", "password": "b"}), **SHORT)
    assert result.errors == {}
    asked = counts(url)
    head = next(text for text in asked if text.startswith("head POST /orders/7 "))
    assert "Authorization: Bearer secret" in head and "X-Mine: 1" in head
    assert 'body {"product_id": 7}' in asked


def test_keeps_the_weights(url):
    mix = [Request(path="/ok?three", weight=3), Request(path="/ok?one", weight=1)]
    result = load_sync(url, mix, **SHORT)
    share = len(result.by_request[0].latencies) / result.requests
    assert result.requests < 500 or share == pytest.approx(0.75, abs=0.08)


def test_open_loop_keeps_its_rate(url):
    result = load_sync(f"{url}/ok", seconds=0.5, warmup=0.1, connections=8, rate=200)
    assert result.requests == pytest.approx(100, abs=1)
    assert CLOSED_LOOP_NOTE not in str(result)


def test_open_loop_follows_each_request_that_was_due(url):
    """One connection gives 100 answers/s at most: of 180 due, some come late and some too late."""
    result = load_sync(f"{url}/wait", seconds=0.6, warmup=0, connections=1, rate=300, timeout=0.3)
    assert result.requests + result.error_count == pytest.approx(180, abs=1)
    assert result.errors["timeout"] > 0 and result.latencies.longest > 200
    assert result.throughput < 150


def test_only_the_open_loop_shows_a_stall(url):
    """Four in ten of what was due in 1.2 s meet a stall of 0.5 s."""
    options = {"seconds": 1.2, "warmup": 0.1, "connections": 4}
    opened = load_sync(f"{url}/stall?at=0.5&for=0.5&open", rate=300, **options)
    closed = load_sync(f"{url}/stall?at=0.5&for=0.5&closed", **options)
    assert opened.p99 > 400
    assert closed.p99 < 250 and closed.latencies.longest > 450
    assert CLOSED_LOOP_NOTE in str(closed) and CLOSED_LOOP_NOTE not in str(opened)


def test_awaits_beside_other_work(url):
    async def both():
        return await asyncio.gather(load(f"{url}/ok", **SHORT), asyncio.sleep(0.1, "other"))

    result, other = asyncio.run(both())
    assert result.requests > 0 and other == "other"


def drivers(process=None) -> list[psutil.Process]:
    children = (process or psutil.Process()).children()
    return [child for child in children if "workshop.measuring.driver" in child.cmdline()]


def test_cancelling_stops_the_driver(url):
    async def cancelled():
        task = asyncio.create_task(load(f"{url}/ok?cancel", seconds=60))
        while not drivers():
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())
    assert not drivers()


def loading(url, tag) -> tuple[subprocess.Popen, psutil.Process]:
    """A process that loads for a minute, once its driver is at work, and the driver."""
    command = [sys.executable, "-m", "workshop", "load", "--url", f"{url}/wait?{tag}", "-s", "60"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    until(lambda: counts(url).get(f"GET /wait?{tag}", 0) > 100)
    return process, drivers(psutil.Process(process.pid))[0]


def test_ctrl_c_gives_a_partial_result(url):
    process, driver = loading(url, "interrupted")
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=20)[0].decode()
    assert process.returncode == 130
    assert "Partial: stopped after" in text and not driver.is_running()


def test_a_killed_parent_leaves_no_driver(url):
    process, driver = loading(url, "killed")
    process.kill()
    process.communicate()
    until(lambda: not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("http://127.0.0.1:9/", {}, "start the server first"),
        ("https://127.0.0.1/", {}, "http:// only"),
        ("http://127.0.0.1:9/", {"connections": 0}, "1 or more"),
        ("http://127.0.0.1:9/", {"rate": 0}, "more than 0"),
    ],
)
def test_says_what_is_wrong(url, options, sentence):
    with pytest.raises(WorkshopError, match=sentence):
        load_sync(url, **options)


def test_says_that_a_login_failed(url):
    with pytest.raises(WorkshopError, match="POST /missing answered 404"):
        load_sync(url, login=Login({}, path="/missing"))


def test_names_a_percentile_only_with_enough_answers():
    assert [samples_needed(p) for p in (50, 90, 99)] == [5, 29, 299]
    few, more = Latencies([(1000, 28)]), Latencies([(1000, 29)])
    assert few.p90 is None and more.p90 == pytest.approx(1.0, rel=0.001)
    assert more.p99 is None


def test_percentiles_are_those_of_the_sorted_sample():
    draw = random.Random(1)
    sample = sorted(int(draw.lognormvariate(8, 1)) for _ in range(1000))
    counted = Latencies((value, 1) for value in sample)
    assert counted.p50 == sample[499] / 1000
    assert counted.p99 == sample[989] / 1000


def test_the_fingerprint_is_not_private():
    text = json.dumps(fingerprint())
    assert set(fingerprint()) == {"cores", "cpu", "memory_gib", "os", "python"}
    assert os.uname().nodename not in text


def test_shows_itself_as_text_html_and_json(url):
    result = load_sync(f"{url}/ok?<b>", **SHORT)
    assert "&lt;b&gt;" in result._repr_html_() and "p50" in str(result)
    assert "near its limit" in str(replace(result, client_cpu=0.95))
    assert "near its limit" not in str(replace(result, client_cpu=0.1, client_queued=0.0))


def test_explains_what_a_reader_may_not_know(url):
    """A dash for a percentile, reconnects and a closed loop: each has its line."""
    few = load_sync(f"{url}/closing", seconds=0.2, warmup=0, connections=1)
    few.latencies = Latencies([(1000, 28)])
    assert "p90 –, p99 –" in str(few)
    assert "only where the run has enough answers for it: 29 for p90" in str(few)
    assert "Reconnects: connections that the server closed after an answer" in str(few)
    assert "Closed loop: each connection sends its next request when" in str(few)
    many = load_sync(f"{url}/ok", seconds=0.5, warmup=0, connections=8, rate=800)
    assert many.notes() == many.warnings()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_terminals(terminal):
    written = StringIO()
    with progress_bar(
        "title", console=Console(file=written, force_terminal=terminal)
    ) as update_progress:
        update_progress(0.5, "half")
    assert ("title" in written.getvalue()) == terminal
