"""The notebooks: how they are written, that what they say holds, and that nothing stays behind."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import nbformat
import psutil
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellExecutionError

from workshop import jupyter
from workshop.commands.notebooks import _await, _command
from workshop.lab import step_that_runs
from workshop.mistakes import mistakes
from workshop.paths import ROOT
from workshop.server import free_port
from workshop.steps import Step, steps
from workshop.telling import nearness

NOTEBOOKS = [pytest.param(path, id=path.stem) for path in jupyter.notebooks()]
LONGEST = 12  # lines of a cell
PROSE = {"jupyter": {"source_hidden": True}, "tags": ["prose"]}  # its text is shown, not its code
FIGURE = re.compile(r"\d[\d,.]*\s*(ms|s|seconds?|requests?|reports?|rounds?|times|%|percent|MB)\b")
# Run last in each notebook, before its own last cell could have closed anything again.
WITNESS = """
import json as _json, socket as _socket, time as _time, threading as _threading
_patched = [m.__name__ for m in (_socket.socket, _time.sleep, _threading.Thread.start)
            if m.__module__.startswith("gevent")]
print("WITNESS", _json.dumps({"patched": _patched, "open": Lab.current is not None}))
"""
START = """
from workshop.lab import Lab
lab = Lab(say=lambda text: None)
shop = lab.serve(1)
print("PIDS", *lab.pids())
"""


def source(path):
    return nbformat.read(path, as_version=4)


def cells(path, kind):
    return [cell.source for cell in source(path).cells if cell.cell_type == kind]


def gone(pids, seconds=30) -> bool:
    """Whether all these processes end within the time."""
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def alive(pid) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that were started, at whatever depth, with this mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WORKSHOP_TEST") == mark and alive(process.pid):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_each_step_has_one():
    assert [path.stem for path in jupyter.notebooks()] == [
        step.folder.removeprefix("step") for step in steps()
    ]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_is_committed_as_written(path):
    notebook = source(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert cell.metadata in ({}, PROSE)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}
    assert not re.search(r"(?<!\.)/(home|root|Users|tmp|work)/[a-z]", path.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_cells_are_short(path):
    for code in cells(path, "code"):
        assert len(code.splitlines()) <= LONGEST, code


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_prose_types_no_figures(path):
    for text in cells(path, "markdown"):
        assert not FIGURE.search(text), FIGURE.search(text)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_every_result_is_predicted_first(path):
    """A question, a cell to fill in, then the reveal; and at the end, questions and exercises."""
    code, prose = cells(path, "code"), cells(path, "markdown")
    asked = sum("**Predict:**" in text for text in prose)
    assert asked >= 4
    assert asked == sum(text.startswith("prediction = None") for text in code)
    assert asked == sum("reveal(prediction," in text for text in code)
    assert sum("assert " in text for text in code) >= asked - 1
    assert "## Questions" in prose[-1] and "## Exercises" in prose[-1]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_breaks_it_with_mistakes_that_there_are(path):
    number = int(path.name[:2])
    known = {mistake.name for mistake in mistakes(number)}
    text = "\n".join(cells(path, "code"))
    used = set(re.findall(r'mistake="(\w+)"', text)) | known & set(re.findall(r'"(\w+)"', text))
    assert len(used) >= 2 and used <= known
    exercises = cells(path, "markdown")[-1]
    assert set(re.findall(r"Serve `(\w+)`", exercises)) <= known


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_runs_and_what_it_says_holds(path):
    """Top to bottom, against real servers; afterwards no process is left."""
    mark = f"{path.stem}-{os.getpid()}"
    try:
        found = jupyter.executed(path, extra=WITNESS, WORKSHOP_TEST=mark)
    except CellExecutionError as error:
        pytest.fail(f"{path.name}: {error}")
    told = found.cells[-1].outputs[0].text
    assert json.loads(told.removeprefix("WITNESS")) == {"patched": [], "open": False}
    pictures = [
        output.data["text/html"]
        for cell in found.cells
        for output in cell.get("outputs", [])
        if "<img" in output.get("data", {}).get("text/html", "")
    ]
    assert len(pictures) >= 2 and all('alt="' in picture for picture in pictures)
    assert gone([process.pid for process in marked(mark)])


@pytest.fixture
def kernel():
    """A kernel in the notebooks' folder: a function that runs code and gives what it prints."""
    settings = jupyter.environment()
    specs = KernelSpecManager(kernel_dirs=[f"{settings['JUPYTER_PATH']}/kernels"])
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=specs)
    manager.start_kernel(cwd=str(ROOT), env=os.environ | settings | {"WORKSHOP_OWN_SERVERS": "1"})
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)


def printed(client, code: str) -> str:
    """Run the code; what it prints, errors included."""
    told = []

    def hook(message):
        content = message["content"]
        told.append(content.get("text") or "\n".join(content.get("traceback", [])))

    client.execute_interactive(code, output_hook=hook, timeout=120)
    return "".join(told)


def pids_of(text: str) -> list[int]:
    return [int(pid) for pid in text.split("PIDS", 1)[1].split()]


def test_killed_kernel_leaves_nothing(kernel):
    manager, client = kernel
    pids = pids_of(printed(client, START))
    assert len(pids) > 4 and all(map(alive, pids))
    os.kill(manager.provisioner.process.pid, signal.SIGKILL)
    assert gone(pids)


def test_interrupted_cell_leaves_the_servers_and_a_restart_ends_them(kernel):
    manager, client = kernel
    pids = pids_of(printed(client, START))
    busy = "from workshop.load import load\nprint('BEGUN')\nawait load(shop.url, seconds=60)"
    sent = client.execute(busy)
    await_text(client, sent, "BEGUN")
    manager.interrupt_kernel()
    client.get_shell_msg(timeout=30)  # the answer to the interrupted cell: long before its time
    assert pids_of(printed(client, "print('PIDS', *lab.pids())")) == pids
    manager.restart_kernel(now=True)
    assert gone(pids)


def await_text(client, sent: str, text: str) -> None:
    """Read what the kernel prints for the cell `sent` until it has printed `text`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") == sent and text in str(message["content"]):
            return
    pytest.fail(f"the kernel did not print {text}")


def test_a_new_lab_closes_the_one_before():
    code = "from workshop.lab import Lab; a, b = Lab(), Lab(); print('PIDS', a.process.poll())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("PIDS")[1].strip() == "0"


@pytest.mark.parametrize(
    ("prediction", "told"),
    [(100, "well"), (110, "well"), (70, "near, 1.43 times too little"), (500, "5 times too much")],
)
def test_a_prediction_is_answered_by_its_factor(prediction, told):
    assert told in nearness(prediction, 100)


@pytest.mark.parametrize("prediction", [0, -1])
def test_a_prediction_that_makes_no_sense_is_well_too(prediction):
    assert nearness(prediction, 100)


def test_copies_are_laid_once_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(jupyter, "COPIES", tmp_path / "work")
    assert len(jupyter.copies()) == len(NOTEBOOKS)
    mine = tmp_path / "work" / jupyter.notebooks()[0].name
    mine.write_text("mine")
    assert jupyter.copies() == [] and mine.read_text() == "mine"


@pytest.fixture
def answering(monkeypatch):
    """A function: from now on the port of a step is answered, as `make step` would, by this."""
    servers = []

    def begin(text: str) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(Step, "port", property(lambda self: server.server_port))
        return server.server_port

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_uses_the_step_that_make_step_runs(answering):
    port = answering('{"step": "step03_pooling"}')
    found = step_that_runs(steps()[2])
    assert (found.url, found.pid, found.own) == (f"http://127.0.0.1:{port}", os.getpid(), False)
    assert step_that_runs(steps()[1]) is None


@pytest.mark.parametrize("text", ["", "[]", "no JSON", '{"step": null}'])
def test_uses_nothing_else_that_runs_there(answering, text):
    answering(text)
    assert step_that_runs(steps()[2]) is None


def test_jupyterlab_wants_the_token_and_has_this_python(tmp_path):
    port, token = free_port(), "a-token-for-this-test"
    process = subprocess.Popen(
        _command(port, "notebooks"),
        env=os.environ | jupyter.environment() | {"JUPYTER_TOKEN": token},
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _await(process, port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.get("/api/contents").status_code == 403
            client.headers["Authorization"] = f"token {token}"
            specs = client.get("/api/kernelspecs").json()
            assert client.get("/api/contents/notebooks").json()["content"]
        assert specs["kernelspecs"]["python3"]["spec"]["argv"][0] == sys.executable
        listening = psutil.Process(process.pid).net_connections("tcp")
        assert {item.laddr.ip for item in listening if item.status == "LISTEN"} == {"127.0.0.1"}
    finally:
        process.terminate()
        process.wait()
