"""The notebooks: how they are written, that what they say holds, and that nothing stays behind."""

import json
import os
import re

import nbformat
import psutil
import pytest
from leftovers import alive, gone
from nbclient.exceptions import CellExecutionError

from workshop.checking.mistakes import mistakes
from workshop.lab import jupyter
from workshop.lab.predictions import nearness
from workshop.steps import steps

NOTEBOOKS = [pytest.param(path, id=path.stem) for path in jupyter.notebooks()]
MAX_LINES = 12  # of a cell, but for the imports
PROSE = {"jupyter": {"source_hidden": True}, "tags": ["prose"]}  # its text is shown, not its code
FIGURE = re.compile(r"\d[\d,.]*\s*(ms|s|seconds?|requests?|reports?|rounds?|times|%|percent|MB)\b")
# Run after the last cell of each notebook.
WITNESS = """
import json as _json, socket as _socket, time as _time, threading as _threading
_patched = [m.__name__ for m in (_socket.socket, _time.sleep, _threading.Thread.start)
            if m.__module__.startswith("gevent")]
print("WITNESS", _json.dumps([_patched, Lab.current is not None, lab.environment["pids"]]))
"""


def source(path):
    return nbformat.read(path, as_version=4)


def cells(path, kind):
    return [cell.source for cell in source(path).cells if cell.cell_type == kind]


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
        assert len(code.splitlines()) <= MAX_LINES or code.startswith("from workshop."), code


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
    assert any("## Questions" in text for text in prose) and "## Exercises" in prose[-1]


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
    patched, still_open, services = json.loads(told.removeprefix("WITNESS"))
    assert not patched and not still_open and services
    pictures = [
        output.data["text/html"]
        for cell in found.cells
        for output in cell.get("outputs", [])
        if "<img" in output.get("data", {}).get("text/html", "")
    ]
    assert len(pictures) >= 2 and all('alt="' in picture for picture in pictures)
    assert gone([*services, *(process.pid for process in marked(mark))])


@pytest.mark.parametrize(
    ("prediction", "told"),
    [(100, "well"), (110, "well"), (70, "near, 1.43 times too little"), (500, "5 times too much")],
)
def test_a_prediction_is_answered_by_its_factor(prediction, told):
    assert told in nearness(prediction, 100)


@pytest.mark.parametrize("prediction", [0, -1])
def test_a_prediction_that_makes_no_sense_is_well_too(prediction):
    assert nearness(prediction, 100)
