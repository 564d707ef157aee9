"""The servers of a notebook end with it, however it ends; JupyterLab and the learner's copies."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import psutil
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from leftovers import alive, gone

from workshop.cli.notebooks import _await, _command
from workshop.lab import jupyter
from workshop.lab.lab import running_step
from workshop.paths import ROOT
from workshop.services.ports import free_port
from workshop.steps import Step, steps

START = """
from workshop.lab import Lab
lab = Lab(log=lambda text: None)
shop = lab.serve(1, SUPPLIER_DELAY=60)
print("PIDS", *lab.pids())
"""

# They print once they wait: before that, an interrupt comes through by itself.
WAIT = """
import asyncio
from workshop.load import load
from workshop.lab import call
asyncio.get_running_loop().call_later(1, print, "BEGUN")
"""
WAITS = {
    "load": "await load(shop.url, seconds=60)",
    "call": "await call(shop.url + '/async')",
}


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


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_interrupted_cell_leaves_the_servers_and_a_restart_ends_them(kernel, wait):
    manager, client = kernel
    pids = pids_of(printed(client, START))
    sent = client.execute(WAIT + wait)
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
        # A stream: the code of the cell, which holds the text too, is sent round before it runs.
        printed = message["msg_type"] == "stream" and message["content"]["text"]
        if message["parent_header"].get("msg_id") == sent and printed and text in printed:
            return
    pytest.fail(f"the kernel did not print {text}")


def test_a_new_lab_closes_the_one_before():
    code = "from workshop.lab import Lab\na, b = Lab(), Lab(); print('PIDS', a.process.poll())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("PIDS")[1].strip() == "0"


def test_copies_are_laid_once_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(jupyter, "COPIES", tmp_path / "work")
    assert len(jupyter.copies()) == len(jupyter.notebooks())
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
    found = running_step(steps()[2])
    assert (found.url, found.pid, found.own) == (f"http://127.0.0.1:{port}", os.getpid(), False)
    assert running_step(steps()[1]) is None


@pytest.mark.parametrize("text", ["", "[]", "no JSON", '{"step": null}'])
def test_uses_nothing_else_that_runs_there(answering, text):
    answering(text)
    assert running_step(steps()[2]) is None


def test_jupyterlab_wants_the_token_and_has_this_python(tmp_path):
    port, token = free_port(), "a-token-for-this-test"
    process = subprocess.Popen(
        _command(port, "notebooks"),
        env=os.environ | jupyter.environment() | {"JUPYTER_TOKEN": token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _await(process, port)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
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
