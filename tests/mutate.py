"""Breaks every method on purpose, one sign, index or factor at a time, and counts what the tests notice.

    python tests/mutate.py [--only explainers/path.py] [--tests FILES] [--most 8] [--jobs 2] [--map FILE]
        [--json FILE] [--list]

The tests run once as they are, to see which lines each of them runs. Then every change is made in a process of
its own, forked after the tests are collected, and those tests that run its line are tried on it, the fastest first,
until one fails. A change that survives is printed with its line: either it makes no difference, or a test is missing.
What surely makes no difference, or none to results, is not changed: messages, checks of parameters, defaults, shapes.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import io
import json
import os
import pickle
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from mutants import SOURCE, Mutant, mutants, name_of

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "explainers",
    "metrics",
    "quality",
    "concepts",
    "examples",
    "counterfactuals",
    "overview",
    "manipulation",
)
DRAWINGS = {"figures.py"}
"""Files whose numbers are colours and margins."""
SECONDS = 30.0
"""Tests tried on one change take at most so long on the unchanged code, but for the first."""
PATIENCE = 20.0
"""Seconds that a run may take beyond five times its usual ones; what takes longer has failed."""
MEMORY = 32 * 2**30
EVERY_LINE = set(range(1, 10_000))


@dataclass
class Run:
    """What one test needs on the unchanged code."""

    seconds: float
    slow_import: bool
    """Whether it brings in TensorFlow, which every process would do anew."""
    lines: dict[str, set[int]]
    """Lines that it runs, by file."""


class Tracer:
    """Notes the lines of ``files`` that each test runs, and those of fixtures that several share."""

    def __init__(self, files: Collection[str]) -> None:
        self._files, self._now = files, defaultdict[str, set[int]](set)
        self._shared: dict[str, dict[str, set[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Keep what a fixture runs for all tests that use it."""
        before, self._now = self._now, defaultdict(set)
        try:
            return (yield)
        finally:
            own, self._now = self._now, before
            self._shared[fixturedef.argname] = own
            _join(self._now, own)

    def run(self, items: Sequence[pytest.Item], session: pytest.Session) -> dict[str, Run | None]:
        """By test; None for those that fail."""
        found: dict[str, Run | None] = {}
        for item, following in zip(items, (*items[1:], None), strict=True):
            self._now, failed, started = defaultdict(set), session.testsfailed, time.perf_counter()
            sys.settrace(self._call)
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            finally:
                sys.settrace(None)
            for name in getattr(item, "fixturenames", ()):
                _join(self._now, self._shared.get(name, {}))
            slow = any("keras" in Path(file).name for file in self._now)
            lines = {file: hit for file, hit in self._now.items() if "keras" not in Path(file).name}
            run = Run(time.perf_counter() - started, slow, lines)
            found[item.nodeid] = None if session.testsfailed > failed else run
        return found

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._now[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line


def _join(lines: dict[str, set[int]], more: dict[str, set[int]]) -> None:
    for file, hit in more.items():
        lines.setdefault(file, set()).update(hit)


class Session:
    """A pytest plugin that tries the changes in place of running the tests."""

    def __init__(self, files: Sequence[Path], chosen: argparse.Namespace, say: Any) -> None:
        self._files, self._chosen, self._say = files, chosen, say
        self.found: dict[Mutant, bool] = {}
        """Whether it survives."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Trace the tests, then try every change of every file."""
        if session.testsfailed:
            raise pytest.UsageError("expected tests that can be collected, got errors")
        runs = self._runs(session)
        functions = _functions()
        for path in self._files:
            made = mutants(path, self._chosen.most)
            lives = dict(self._try(made, runs, functions, session))
            alive = [mutant for mutant in made if lives[mutant]]
            self.found |= lives
            if made:
                self._say(f"{name_of(path)}: {len(made) - len(alive)} of {len(made)} caught")
            for mutant in alive:
                text = path.read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
                self._say(f"  survives: {mutant}\n    {text}")
        return True

    def _runs(self, session: pytest.Session) -> dict[str, Run]:
        """What each test runs, from the map where it still holds."""
        kept: Path | None = self._chosen.map
        digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files}
        runs: dict[str, Run | None] = {}
        if kept and kept.exists():
            runs, before = pickle.loads(kept.read_bytes())
            changed = {file for file, digest in digests.items() if before.get(file) != digest}
            for run in filter(None, runs.values()):
                run.lines.update((file, EVERY_LINE) for file in changed & run.lines.keys())
            digests = {file: before.get(file, "") for file in before | digests}
        new = [item for item in session.items if item.nodeid not in runs]
        if new:
            keras = {str(path) for path in (SOURCE / "classifiers").glob("keras*.py")}
            files = {str(path) for path in self._files} | keras
            reader, writer = os.pipe()
            if _fork() == 0:
                with os.fdopen(writer, "wb") as pipe:
                    tracer = Tracer(files)
                    session.config.pluginmanager.register(tracer)
                    pickle.dump(tracer.run(new, session), pipe)
                    pipe.flush()
                    os._exit(0)
            os.close(writer)
            with os.fdopen(reader, "rb") as pipe:
                runs |= pickle.loads(pipe.read())
            os.wait()
            if kept:
                kept.write_bytes(pickle.dumps((runs, digests)))
        present = {item.nodeid for item in session.items}
        for failing in sorted(name for name in present if runs[name] is None):
            self._say(f"left out, for it fails before anything is changed: {failing}")
        return {name: run for name, run in runs.items() if run is not None and name in present}

    def _try(
        self,
        made: Sequence[Mutant],
        runs: dict[str, Run],
        functions: dict[tuple[str, int, str], list[FunctionType]],
        session: pytest.Session,
    ) -> Iterator[tuple[Mutant, bool]]:
        """Each change, and whether it survives; ``jobs`` processes at once."""
        items = {item.nodeid: item for item in session.items}
        running: dict[int, tuple[Mutant, float]] = {}
        waiting = list(reversed(made))
        while waiting or running:
            while waiting and len(running) < self._chosen.jobs:
                mutant = waiting.pop()
                names = tests_of(mutant, runs)
                if not names:
                    yield mutant, True
                    continue
                limit = PATIENCE + 5 * sum(runs[name].seconds for name in names)
                child = _fork()
                if child == 0:
                    _test(mutant, [items[name] for name in names], functions, session)
                running[child] = (mutant, time.monotonic() + limit)
            time.sleep(0.01)
            for child, (mutant, deadline) in list(running.items()):
                late = time.monotonic() > deadline
                if late:
                    os.kill(child, signal.SIGKILL)
                done, status = os.waitpid(child, 0 if late else os.WNOHANG)
                if done:
                    del running[child]
                    code = os.waitstatus_to_exitcode(status)
                    if code == 2:
                        raise RuntimeError(f"expected the file to stay as it was read, found another: {mutant}")
                    yield mutant, code == 0


def tests_of(mutant: Mutant, runs: dict[str, Run]) -> list[str]:
    """Tests that run the changed statement, the fastest first, then others of their files, within the time for them.

    What tests share without pytest's knowledge, as a cached function, only the first of them is seen to run.
    """
    file = str(mutant.path)
    span = set(range(mutant.span[0], mutant.span[1] + 1))

    def touches(run: Run) -> bool:
        lines = run.lines.get(file, set())
        return bool(lines & span) or (mutant.outside is not None and bool(lines))

    def cost(name: str) -> tuple[bool, float]:
        return runs[name].slow_import, runs[name].seconds

    reached = sorted((name for name, run in runs.items() if touches(run)), key=cost)
    beside = {name.partition("::")[0] for name in reached}
    others = {name for name in runs if name.partition("::")[0] in beside} - set(reached)
    chosen: list[str] = []
    spent = 0.0
    for name in (*reached, *sorted(others, key=cost)):
        if not chosen or spent + runs[name].seconds <= SECONDS:
            chosen.append(name)
            spent += runs[name].seconds
    return chosen


def _fork() -> int:
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return child


def _test(
    mutant: Mutant,
    items: Sequence[pytest.Item],
    functions: dict[tuple[str, int, str], list[FunctionType]],
    session: pytest.Session,
) -> None:
    """Leave the process with 0 where all tests pass with the change, 1 where one fails, 2 where it cannot be made."""
    try:
        made = apply(mutant, functions)
    except TypeError:  # the changed statement cannot even be run
        os._exit(1)
    except Exception:
        made = False
    if not made:
        os._exit(2)
    try:
        for item, following in zip(items, (*items[1:], None), strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                os._exit(1)
    except BaseException:
        os._exit(1)
    os._exit(0)


def apply(mutant: Mutant, functions: dict[tuple[str, int, str], list[FunctionType]]) -> bool:
    """Make the change in the functions that have been imported; False if there are none."""
    changed = compile(mutant.tree, str(mutant.path), "exec", dont_inherit=True)
    if mutant.outside is not None:
        code = compile(ast.Module([mutant.outside], []), str(mutant.path), "exec", dont_inherit=True)
        namespaces = {
            id(each.__globals__): each.__globals__
            for key in functions
            for each in functions[key]
            if key[0] == str(mutant.path)
        }
        for namespace in namespaces.values():
            exec(code, namespace)
        return bool(namespaces)
    # Only what this change changes, and only where what was imported is what has been read.
    before = {_key(code): code for code in _codes(compile(mutant.text, str(mutant.path), "exec", dont_inherit=True))}
    made = False
    for code in _codes(changed):
        known = before[_key(code)]
        for function in functions.get(_key(code), ()) if code != known else ():
            if function.__code__ == known:
                function.__code__ = code
                made = True
    return made


def _key(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)


def _functions() -> dict[tuple[str, int, str], list[FunctionType]]:
    """All functions of the package that there are, by file, first line and qualified name."""
    found = defaultdict(list)
    for each in gc.get_objects():
        if type(each) is FunctionType:
            found[_key(each.__code__)].append(each)
    return found


def run(files: Sequence[Path], tests: Sequence[str], chosen: argparse.Namespace) -> dict[Mutant, bool]:
    """Every change of the files, and whether it survives the tests."""
    screen = sys.stdout
    for name in ("torch", "numpy", "scipy.stats", "sklearn.linear_model", "captum.attr", "pydantic"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for path in files:
        if path.is_relative_to(SOURCE):
            importlib.import_module(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts))
    session = Session(files, chosen, lambda line: print(line, file=screen, flush=True))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        options = ("-q", "-s", "--tb=no", "-p", "no:cacheprovider", "-p", "no:doctest", "-o", "addopts=")
        code = pytest.main([*options, *tests], plugins=[session])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"{printed.getvalue()}\nexpected tests that can be collected, got exit code {code}")
    return session.found


def report(found: dict[Mutant, bool]) -> dict[str, Any]:
    """Counts by folder, file and method, and the survivors."""
    levels: dict[str, dict[str, list[int]]] = {"folders": {}, "files": {}, "methods": {}}
    for mutant, lives in found.items():
        file = name_of(mutant.path)
        keys = (file.partition("/")[0], file, f"{file} {mutant.owner}".strip())
        for counts, key in zip(levels.values(), keys, strict=True):
            pair = counts.setdefault(key, [0, 0])
            pair[0] += not lives
            pair[1] += 1
    caught = sum(not lives for lives in found.values())
    survivors = [str(mutant) for mutant, lives in found.items() if lives]
    return {"caught": caught, "changes": len(found), **levels, "survivors": survivors}


def table(summary: dict[str, Any]) -> str:
    """The report in lines."""
    rows = [(name, *pair) for level in ("methods", "folders") for name, pair in summary[level].items()]
    rows.append(("all", summary["caught"], summary["changes"]))
    width = max(len(str(row[0])) for row in rows)
    return "\n".join(
        f"{name:{width}} {caught:4} of {total:4} {caught / max(total, 1):5.0%}" for name, caught, total in rows
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="files below src/xaibench whose names hold one of these")
    parser.add_argument("--most", type=int, default=8, help="most changes of a file")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--map", type=Path, help="keep what each test runs in this file, and use it while it holds")
    parser.add_argument("--json", type=Path, help="write the figures and the survivors to this file")
    parser.add_argument("--tests", nargs="+", help="tests to try, in place of those of the files' folders")
    parser.add_argument("--list", action="store_true", help="list the changes, run nothing")
    chosen = parser.parse_args(arguments)
    files = [path for folder in FOLDERS for path in sorted((SOURCE / folder).rglob("*.py"))]
    files = [path for path in files if path.name not in DRAWINGS]
    if chosen.only:
        files = [path for path in files if any(text in name_of(path) for text in chosen.only)]
    if chosen.list:
        print(*(mutant for path in files for mutant in mutants(path, chosen.most)), sep="\n")
        return
    tests = chosen.tests or sorted({str(ROOT / "tests" / path.relative_to(SOURCE).parts[0]) for path in files})
    summary = report(run(files, tests, chosen))
    print(table(summary))
    if chosen.json:
        chosen.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
