"""Comparisons: intervals that hold what they promise, verdicts, limits; simulated, then real."""

import asyncio
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import Parameter, signature
from statistics import fmean, median, stdev

import pytest
from agreement import WRK, driver, wrk
from loadserver import serving

from workshop import limits
from workshop.compare import (
    FASTER,
    NOISY,
    SLOWER,
    Comparison,
    Side,
    compare,
    compare_sync,
    ratio_of,
)
from workshop.errors import WorkshopError
from workshop.load import Request, load, load_sync
from workshop.measuring.student_t import (
    confidence_interval,
    differs,
    rounds_needed,
    t_quantile,
)
from workshop.paths import ROOT

RUNS = 4000
QUICK = {"seconds": 0.2, "warmup": 0.05, "connections": 4, "rounds": 5, "progress": False}


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


TABLE = {  # degrees of freedom: t at 90, 95, 97.5, 99 and 99.5 %, as every textbook prints it
    1: (3.078, 6.314, 12.706, 31.821, 63.657),
    2: (1.886, 2.920, 4.303, 6.965, 9.925),
    3: (1.638, 2.353, 3.182, 4.541, 5.841),
    4: (1.533, 2.132, 2.776, 3.747, 4.604),
    5: (1.476, 2.015, 2.571, 3.365, 4.032),
    6: (1.440, 1.943, 2.447, 3.143, 3.707),
    7: (1.415, 1.895, 2.365, 2.998, 3.499),
    8: (1.397, 1.860, 2.306, 2.896, 3.355),
    9: (1.383, 1.833, 2.262, 2.821, 3.250),
    10: (1.372, 1.812, 2.228, 2.764, 3.169),
    11: (1.363, 1.796, 2.201, 2.718, 3.106),
    15: (1.341, 1.753, 2.131, 2.602, 2.947),
    20: (1.325, 1.725, 2.086, 2.528, 2.845),
    29: (1.311, 1.699, 2.045, 2.462, 2.756),
    60: (1.296, 1.671, 2.000, 2.390, 2.660),
    120: (1.289, 1.658, 1.980, 2.358, 2.617),
}


@pytest.mark.parametrize("df", TABLE)
def test_t_quantiles_are_those_of_the_printed_table(df):
    """NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2."""
    quantiles = [t_quantile(probability, df) for probability in (0.9, 0.95, 0.975, 0.99, 0.995)]
    assert quantiles == pytest.approx(TABLE[df], abs=0.0006)


def noise(rounds: int) -> Iterator[list[list[float]]]:
    """Log ratios of equal sides, as rounds give them: normal, with heavy tails, with outliers."""
    draw = random.Random(rounds)

    def normal() -> float:
        return draw.gauss(0, 0.05)

    def heavy_tails() -> float:  # Student's t with 3 degrees of freedom
        return normal() / math.sqrt(draw.gammavariate(1.5, 2) / 3)

    def outliers() -> float:
        return draw.gauss(0, 0.3) if draw.random() < 0.1 else normal()

    for kind in (normal, heavy_tails, outliers):
        yield [[kind() for _ in range(rounds)] for _ in range(RUNS)]


@pytest.mark.parametrize("rounds", [5, 6, 8, 12, 30])
def test_the_interval_holds_the_truth_in_95_of_100_runs(rounds):
    """Of normal noise; of noise with outliers a little more often, as it is known to do."""
    shares = [
        sum(low <= 0 <= high for low, high in map(confidence_interval, logs)) / RUNS
        for logs in noise(rounds)
    ]
    assert shares[0] == pytest.approx(0.95, abs=0.012)
    assert all(0.94 < share < 0.985 for share in shares[1:])


@pytest.mark.parametrize("rounds", [5, 6, 8, 12, 30])
def test_equals_are_called_different_in_about_1_of_100_runs(rounds):
    for logs in noise(rounds):
        assert sum(map(differs, logs)) <= 0.014 * RUNS


def test_a_difference_is_told_and_its_size_is_right():
    draw = random.Random(1)
    runs = [[draw.gauss(0.2, 0.05) for _ in range(8)] for _ in range(50)]
    found = [ratio_of("b", "a", "throughput", logs) for logs in runs]
    assert {ratio.verdict for ratio in found} == {FASTER}
    assert median(ratio.ratio for ratio in found) == pytest.approx(math.exp(0.2), rel=0.02)


def test_less_latency_is_faster():
    assert ratio_of("b", "a", "p99", [-0.5, -0.6, -0.4, -0.5, -0.6, -0.5]).verdict == FASTER
    assert ratio_of("b", "a", "throughput", [-0.5, -0.6, -0.4, -0.5, -0.6, -0.5]).verdict == SLOWER


def test_too_noisy_says_how_many_rounds_would_tell():
    """Those many do tell, in some four of five runs."""
    draw = random.Random(2)
    logs = [0.1, -0.2, 0.3, -0.1, 0.2, 0.0]
    ratio = ratio_of("b", "a", "throughput", logs)
    assert ratio.verdict == NOISY and f"would take {ratio.rounds_needed}" in str(ratio)
    assert ratio.rounds_needed
    enough = [
        [draw.gauss(fmean(logs), stdev(logs)) for _ in range(ratio.rounds_needed)]
        for _ in range(400)
    ]
    assert 0.74 < sum(map(differs, enough)) / 400 < 0.86
    assert rounds_needed([0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.001]) is None


def test_prints_ratio_interval_and_verdict():
    values = {"step02": [100.0] * 6, "step03": [920.0, 925.0, 915.0, 920.0, 921.0, 919.0]}
    comparison = compare_sync(
        {name: iter(many).__next__ for name, many in values.items()}, rounds=6, progress=False
    )
    expected = "step03 against step02: 9.20 times (95 % interval 9.1"
    assert str(comparison).startswith(expected) and "): faster\n" in str(comparison)
    assert comparison.values == values
    assert comparison.ratio("step02", "step03").verdict == SLOWER


def test_every_round_measures_each_side_once_in_random_order():
    asked = []
    sides = {name: lambda name=name: asked.append(name) or 1.0 for name in "abc"}
    compare_sync(sides, rounds=10, seed=1, progress=False)
    rounds = [tuple(asked[at : at + 3]) for at in range(0, 30, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds) and len(set(rounds)) > 2


def test_ctrl_c_keeps_the_rounds_so_far():
    """Five of them are enough for a verdict, four are not."""

    def interrupted(at: int):
        asked = []

        def side() -> float:
            if len(asked) == at:
                raise KeyboardInterrupt
            return asked.append(1) or 1.0

        return compare_sync({"a": side, "b": lambda: 2.0}, rounds=8, seed=1, progress=False)

    assert interrupted(5).ratio("b").verdict == FASTER and interrupted(5).rounds == 5
    with pytest.raises(KeyboardInterrupt):
        interrupted(4)


def test_a_server_against_itself_is_not_told_apart(url):
    """Wrong once in 50 runs or so, by chance: so a second run may answer for the first."""

    def equal() -> bool:
        ratio = compare_sync({"a": f"{url}/work", "b": f"{url}/work"}, **QUICK).ratio("b")
        return ratio.verdict == NOISY or ratio.low <= 1 <= ratio.high

    assert equal() or equal()


def test_a_server_that_waits_is_slower(url):
    sides = {"fast": f"{url}/ok", "slow": Side(f"{url}/pause")}
    comparison = asyncio.run(compare(sides, **QUICK))
    assert comparison.ratio("slow").verdict == SLOWER and comparison.rounds == 5
    by_latency = comparison.by("p50")
    assert by_latency.ratio("slow").verdict == SLOWER and "times the p50" in str(by_latency)


def test_says_what_was_asked_and_over_how_many_connections(url):
    equal = compare_sync({"a": url, "b": url}, path="/work", **QUICK)
    assert "GET /work, 4 connections, 0.2 s, closed loop, in 5 rounds" in str(equal)
    sides = {"a": Side(url, [Request(path="/ok")]), "b": Side(url, [Request(path="/work")])}
    different = compare_sync(sides, **QUICK)
    assert "a: GET /ok, 4 connections" in str(different)
    assert "b: GET /work, 4 connections" in str(different)


def test_a_round_lasts_until_its_first_answers(url):
    """A round of 20 ms holds no answer that takes 50 ms."""
    sides = {"a": f"{url}/pause", "b": f"{url}/pause"}
    short = {"seconds": 0.02, "warmup": 0, "connections": 1, "rounds": 5, "progress": False}
    comparison = compare_sync(sides, **short)
    assert all(result.seconds > 0.02 for result in comparison.results["a"])
    assert asyncio.run(limits.no_op_limit(url, "/pause", connections=1, seconds=0.02)).per_second


def test_the_rounds_of_two_comparisons_add_up():
    first = Comparison("throughput", {"a": [1.0] * 5, "b": [2.0] * 5}, {"a": [], "b": []})
    more = Comparison("throughput", {"a": [1.0], "b": [2.0]}, {"a": [], "b": []})
    assert (first + more).rounds == 6 and (first + more).ratio("b").ratio == pytest.approx(2)


@pytest.mark.parametrize("function", [load, load_sync, compare, compare_sync])
def test_signatures_name_every_option_and_its_default(function):
    parameters = signature(function).parameters.values()
    assert {each.kind for each in parameters} <= {Parameter.POSITIONAL_OR_KEYWORD,
                                                  Parameter.KEYWORD_ONLY}  # fmt: skip
    options = [each for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
    assert len(options) >= 9 and all(each.default is not Parameter.empty for each in options)


def test_the_forms_with_and_without_await_take_the_same():
    assert signature(load) == signature(load_sync)
    assert signature(compare) == signature(compare_sync)


def test_says_what_is_wrong(url):
    with pytest.raises(WorkshopError, match="two sides"):
        compare_sync({"a": url})
    with pytest.raises(WorkshopError, match=r"b gave no throughput .* errors {'status 404'"):
        compare_sync({"a": f"{url}/ok", "b": f"{url}/missing"}, **QUICK)


def test_compares_a_result_with_its_limits(url):
    nothing = asyncio.run(limits.no_op_limit(url, "/ok", seconds=0.3))
    shares = limits.compare_with_limits(474.0, limits.concurrency_limit(50, 0.1), nothing)
    assert "95% of 500 requests/s: 50 connections / 0.1 s of waiting" in str(shares)
    assert nothing.per_second > 0 and "GET /ok, which does nothing" in shares._repr_html_()


def test_no_server_gets_past_the_limit_of_its_wait(url):
    result = load_sync(f"{url}/wait", connections=4, seconds=0.5)
    assert 0 < limits.concurrency_limit(4, 0.01).share(result.throughput) <= 1.05


def test_says_that_postgresql_is_not_there():
    with pytest.raises(WorkshopError, match="bare query"):
        limits.bare_query_limit("select 1", "postgresql+psycopg2://a:b@127.0.0.1:9/c")


@pytest.mark.skipif(WRK is None, reason="compares our driver with wrk, which pip cannot install")
@pytest.mark.parametrize("connections", [1, 50])
def test_agrees_with_wrk(url, connections):
    """Loosely, and on a server that mostly waits, for any machine at any moment.

    `python tests/tooling/agreement.py` measures how closely, on one that works.
    """

    def alike() -> bool:
        theirs = wrk(f"{url}/wait", connections, 1)
        ours = driver(f"{url}/wait", connections, 0.5)
        return all(0.6 < ours[measure] / theirs[measure] < 1.6 for measure in theirs)

    assert any(alike() for _ in range(3))


def test_load_and_compare_import_nothing_heavy():
    code = "import sys, workshop.load, workshop.compare; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "matplotlib", "IPython"} & set(done.stdout.split())


def workshop(*words: str) -> str:
    """What a command says; it succeeds."""
    environment = {name: value for name, value in os.environ.items() if name not in ("N", "URL")}
    done = subprocess.run(
        [sys.executable, "-m", "workshop", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def app(tmp_path) -> str:
    """A folder with an app that only answers GET /ok and GET /."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "app.py").write_text(
        "import os\nfrom flask import Flask\napp = Flask(__name__)\n"
        "app.get('/')(lambda: 'here')\napp.get('/ok', endpoint='ok')(lambda: 'ok')\n"
        "app.run(port=int(os.environ['PORT']))\n"
    )
    return str(folder)


def test_the_commands_take_a_folder_and_a_url(url, app):
    """The folder is started, the URL runs already; its path goes to both."""
    compared = workshop("compare", "--app", app, "--url", f"{url}/ok", "-s", "0.1", "-c", "2")
    assert re.search(rf"{url} against .*mine: [\d.,]+ times", compared)
    assert "GET /ok, 2 connections, 0.1 s, closed loop, in 8 rounds" in compared
    loaded = workshop("load", "--app", app, "--url", "/ok", "-s", "0.2", "-c", "2")
    assert re.search(r"127.0.0.1:\d+/ok\n", loaded) and "errors       none" in loaded
