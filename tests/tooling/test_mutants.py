"""Mutants: each is one small change that compiles and means something else; seeds repeat a draw."""

import ast
import os
from dataclasses import replace
from queue import SimpleQueue

import pytest

from workshop.checking import mutants
from workshop.checking.mutation import Mutant, Source
from workshop.services import private
from workshop.steps import step, steps

MANY = 10_000  # more than any step has
THOROUGH = bool(os.environ.get("THOROUGH"))


def changes(text: str) -> set[str]:
    """What each mutant of the source is, on one line."""
    source = Source("app.py", text)
    found = (source.mutant(function, edit) for function, edit in source.edits())
    return {" ".join(mutant.source.split()) for mutant in found if mutant}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a not in b", {"a in b"}),
        ("a is None", {"a is not None"}),
        ("a and b", {"a or b", "a", "b"}),
        ("not (a or b)", {"(a or b)", "not (a and b)"}),
        ("a + b", {"a - b"}),
        ("16 * n", {"16 / n", "17 * n", "15 * n"}),
        ("x = -1", {"x = 1", "x = -2", "x = -0"}),
        ("n += k", {"n -= k", "n = k"}),
        ("x = True", {"x = False"}),
        ("x = 'é' + y", {"x = '' + y", "x = 'é' - y"}),
        ("x = f'{a}:{b}'", {"x = f':{b}'", "x = f'{a}:'"}),
        ("f(a, b)", {"f(b, a)", "a"}),
        ("f(a, k=v, z=w)", {"f(a, z=w)", "f(a, k=v)"}),
        ("f(k=v,)", {"f()"}),
        ("a.f()", {"a"}),
        ("x = {a: b, **c}", {"x = {**c}", "x = {a: b}"}),
        ("x = y if a else z", {"x = y if True else z", "x = y if False else z"}),
        ("def f():\n    return a", {"def f(): return None"}),
        ("def f():\n    raise E", {"def f(): pass"}),
        ("@a\n@b\ndef f(): ...", {"@b def f(): ...", "@a def f(): ..."}),
        ("with a: f(b)", {"if True: f(b)", "with a: b"}),
        ("try: ...\nexcept A: ...", {"try: ... except Exception: ...", "try: ... except (): ..."}),
        (
            'x = """\none\n-- a note\ntwo\n"""',
            {'x = """ -- a note two """', 'x = """ one -- a note """'},
        ),
    ],
)
def test_operators(source, expected):
    assert expected <= changes(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Says what it is."""',
        'class C:\n    """Says what it is."""',
        "def f(a: int) -> str | None: ...",
        "import os",
        "log.warning('%s came %d times', a, 3)",
        "TECHNIQUE = 'plain Flask'",
        "# if a < b",
    ],
)
def test_what_only_people_read_is_left_alone(source):
    assert changes(source) == set()


def test_messages_are_left_alone():
    assert changes("abort(404, 'No such product.')") <= {
        "pass",
        "abort(405, 'No such product.')",
        "abort(403, 'No such product.')",
        "abort('No such product.', 404)",
        "404",
    }
    assert "return {'message': ''}" not in changes("def f():\n    return {'message': 'Busy.'}")


def test_a_mutant_names_its_function_and_its_lines():
    source = Source(
        "app.py", "class C:\n    def f(self):\n        return g(\n            a > 1\n        )\n"
    )
    found = [source.mutant(function, edit) for function, edit in source.edits()]
    mutant = next(m for m in found if ">=" in m.after)
    assert mutant.key == ("app.py", "C.f", "a > 1", "a >= 1")
    assert "-            a > 1\n+            a >= 1" in mutant.diff()


@pytest.mark.parametrize("chosen", steps(), ids=lambda s: s.folder)
def test_every_mutant_of_a_step_compiles_and_differs(chosen):
    found = mutants.draw(mutants.sources(chosen), seed=1, count=MANY if THOROUGH else 100)
    assert len(found) >= 100
    originals = {s.file: ast.dump(s.tree) for s in mutants.sources(chosen)}
    for mutant in found:
        assert ast.dump(ast.parse(mutant.source)) != originals[mutant.file]
        compile(mutant.source, mutant.file, "exec")


def test_a_seed_repeats_its_draw_and_a_larger_count_begins_with_it():
    found = mutants.sources(step(5))
    first = mutants.draw(found, seed=1, count=20)
    assert len(first) == 20
    assert mutants.draw(found, seed=1, count=40)[:20] == first
    assert mutants.draw(found, seed=2, count=20) != first


def test_every_known_survivor_can_still_be_drawn():
    files = {file for file, *_ in mutants.explained()}
    found = [s for step in steps() for s in mutants.sources(step) if s.file in files]
    keys = {mutant.key for mutant in mutants.draw(found, 1, MANY)}
    gone = [key for key in mutants.explained() if key not in keys]
    assert not gone, "the code has changed: these are no longer mutants of any step"
    assert all(why.endswith(".") for why in mutants.explained().values())


@pytest.fixture
def record(tmp_path):
    return mutants.Record(step(1), tmp_path)


def test_a_record_settles_what_was_checked_before(record, tmp_path):
    caught, survivor, other = mutants.draw(mutants.sources(step(1)), seed=1, count=3)
    record.add(mutants.Result(caught, "no_client_input_is_a_500", 1.5))
    record.add(mutants.Result(survivor, None, 9))
    again = mutants.Record(step(1), tmp_path)
    assert again.result(caught) == mutants.Result(caught, "no_client_input_is_a_500", 1.5)
    assert again.result(survivor).survived
    assert again.result(other) is None


def test_survivors_are_tried_again_once_the_checks_have_changed(record):
    caught, survivor = mutants.draw(mutants.sources(step(1)), seed=1, count=2)
    record.checks = "older"
    record.add(mutants.Result(caught, "no_client_input_is_a_500", 1))
    record.add(mutants.Result(survivor, None, 1))
    record.checks = "newer"
    assert record.result(caught)
    assert record.result(survivor) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"code": "of another step", "results": []}'])
def test_a_record_that_is_of_no_use_is_begun_again(record, tmp_path, text):
    record.path.write_text(text)
    assert mutants.Record(step(1), tmp_path).entries == {}


def test_an_obvious_fault_is_caught_and_the_services_serve_the_next_mutant():
    chosen = step(1)
    original = (chosen.path / "shop.py").read_text()
    correct = Mutant("shop.py", "", "", "", original, original)
    fault = replace(correct, source=original.replace("stock >= quantity", "stock <= quantity"))
    assert fault.source != original
    with private(scram_iterations=1) as own:
        free = SimpleQueue()
        free.put(own)
        assert mutants.check(chosen, fault, free, limit=300).caught_by in chosen.checks
        assert mutants.check(chosen, correct, free, limit=300).survived
        hung = mutants.check(chosen, correct, free, limit=0)
        assert hung.caught_by, "what does not end counts as caught"
