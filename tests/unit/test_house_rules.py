"""The rules of the house that a machine can keep: who may import whom, and how large anything may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "cesar_watch"
MODULES = sorted((REPOSITORY / PACKAGE).rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
MAY_IMPORT = {
    "core": {"core"},
    "intake": {"intake", "core"},
    "speech": {"speech", "core"},
    "delivery": {"delivery", "core"},
    "service": {"service", "intake", "speech", "delivery", "core"},
    "verify": {"verify"},
    "cli": {"cli", "verify", "service", "intake", "speech", "delivery", "core"},
    "http_shim": {"http_shim", "service", "delivery", "core"},
    "cluster": {"cluster", "speech", "core"},
}
HEAVY = ("faster_whisper", "ctranslate2", "onnxruntime", "av", "apprise")

HEAVY_DOORS = {"cesar_watch.speech.recognizer", "cesar_watch.speech.scheduler"}
"""Modules that load a heavy package; `speech/` opens them only when work begins."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def dotted(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}
by_module = pytest.mark.parametrize("path", MODULES, ids=dotted)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def own_imports(node: ast.AST) -> Iterator[str]:
    """Every module of ours that is imported anywhere below `node`, inside functions too."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            if child.module and child.module.split(".")[0] == PACKAGE:
                full = [f"{child.module}.{alias.name}" for alias in child.names]
                yield from (name if name in NAMES else child.module for name in full)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and parts[1] in MAY_IMPORT) else None


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


@by_module
def test_module_imports_only_rooms_further_down(path: Path) -> None:
    here = room(dotted(path))
    if here is None:  # `__init__` and `__main__` of the package stand outside the rooms
        return
    assert here in MAY_IMPORT, f"{here}/ is not a room that the design knows"
    wrong = {name for name in own_imports(tree(path)) if (room(name) or here) not in MAY_IMPORT[here]}

    assert wrong == set()


def test_only_the_command_line_imports_the_room_that_checks_the_others() -> None:
    importers = {dotted(path) for path in MODULES for name in own_imports(tree(path)) if room(name) == "verify"}

    assert {room(name) for name in importers} == {"verify", "cli"}


@by_module
def test_module_hides_no_import_of_ours_in_a_function(path: Path) -> None:
    hidden = {name for function in functions(path) for name in own_imports(function)}

    assert hidden <= (HEAVY_DOORS if room(dotted(path)) == "speech" else set())


def test_modules_import_each_other_without_cycles() -> None:
    waiting = {dotted(path): set(own_imports(tree(path))) - {dotted(path)} for path in MODULES}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}

    assert waiting == {}


def test_command_line_loads_no_heavy_package() -> None:
    load_all = "import sys; from cesar_watch.cli.main import make_app; make_app([])"
    code = f"{load_all}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)

    assert done.stdout.strip() == "[]"


@by_module
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


@by_module
def test_module_stays_within_350_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@by_module
def test_functions_of_module_stay_within_80_lines(path: Path) -> None:
    long = {node.name for node in functions(path) if (node.end_lineno or 0) - node.lineno + 1 > 80}

    assert long == set()


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_never_sleep(path: Path) -> None:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    names = {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls}

    assert "sleep" not in names


def test_rules_see_an_import_inside_a_function() -> None:
    sample = ast.parse("def f():\n    from cesar_watch.service import worker\n    import cesar_watch.cli.main\n")

    assert set(own_imports(sample)) == {"cesar_watch.service.worker", "cesar_watch.cli.main"}
