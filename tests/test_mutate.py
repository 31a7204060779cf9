"""The script that breaks methods on purpose finds what tests miss, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

METHOD = '''
from functools import cache

SCALE = 3


class Area:
    side: int = 2

    @property
    def tested(self):
        assert 2 > 1, f"{1 + 1}"
        return self.side * SCALE


@cache
def loose(x):
    """Return more."""
    if x < 0:
        raise ValueError(1 + 1)
    return x - 1


def endless(n):
    while n > 0:
        n -= 1
    return n


def never(x):
    return x / 4
'''
TESTS = """
from sums import Area, endless, loose, never


def test_tested():
    assert Area().tested == 6


def test_loose():
    assert isinstance(loose(2), int)


def test_endless():
    assert endless(3) == 0
"""
RUN = """
import json, sys
from argparse import Namespace
from pathlib import Path
import mutate

mutate.PATIENCE = 1
found = mutate.run([Path("sums.py").resolve()], ["test_sums.py"], Namespace(most=99, jobs=2, map=None))
print(json.dumps(mutate.report(found)))
"""


def test_survivors_are_the_changes_that_no_test_notices(tmp_path: Path, root: Path) -> None:
    (tmp_path / "sums.py").write_text(METHOD, encoding="utf-8")
    (tmp_path / "test_sums.py").write_text(TESTS, encoding="utf-8")
    paths = f"import sys; sys.path[:0] = [{str(root / 'tests')!r}, '.']\n"
    made = subprocess.run(
        [sys.executable, "-c", paths + RUN], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout.splitlines()[-1])
    assert summary["methods"] == {
        "sums.py": [1, 1],
        "sums.py Area": [1, 1],
        "sums.py loose": [0, 2],
        "sums.py endless": [4, 4],
        "sums.py never": [0, 2],
    }
    assert (summary["caught"], summary["changes"]) == (6, 10)
    assert summary["survivors"] == [
        "sums.py:21:12: Sub becomes Add",
        "sums.py:21:16: 1 becomes 2",
        "sums.py:31:12: Div becomes Mult",
        "sums.py:31:16: 4 becomes 5",
    ]
