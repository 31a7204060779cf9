"""The reference of the documentation: pages written from the docstrings of the code, so that they cannot drift from it.

`pages` gives them as Markdown by path. The site's hook adds them when it is built; nothing of them is committed.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["pages"]


@dataclasses.dataclass(frozen=True)
class Family:
    """Methods of one kind: their registry and what to say before them."""

    title: str
    intro: str
    registry: Callable[[], Any]


def _registry(module: str, name: str) -> Callable[[], Any]:
    def load() -> Any:
        return getattr(__import__(module, fromlist=[name]), name)

    return load


FAMILIES: Mapping[str, Family] = {
    "attacks": Family(
        "Attacks",
        "What searches for an input within a threat model that the classifier gets wrong. On the command line:"
        " `xaibench attack MODEL --attack NAME:key=value,...`; in Python:"
        " `xaibench.evaluate_robustness(..., attack=NAME)`.",
        _registry("xaibench.attacks", "attacks"),
    ),
    "explainers": Family(
        "Explainers",
        "What says which parts of an input speak for a class. On the command line: `xaibench explain MODEL --methods"
        " NAME:key=value,...`; in Python: `xaibench.explain(..., method=NAME)`. How they compare is said in"
        " [explanations](../explanations.md).",
        _registry("xaibench.explainers", "explainers"),
    ),
    "metrics": Family(
        "Quality metrics",
        "What measures an explanation. On the command line: `xaibench rank-explainers MODEL --metrics NAME`.",
        _registry("xaibench.metrics", "quality_metrics"),
    ),
    "objectives": Family(
        "Training objectives",
        "What a training minimises. On the command line: `xaibench harden MODEL --objective NAME:key=value,...`."
        " Which data each fits stands in the [table](../objectives.md).",
        _registry("xaibench.training.objectives", "objectives"),
    ),
    "corruptions": Family(
        "Corruptions",
        "Changes of an image that nobody chose to do harm, each in five severities, in the families of Hendrycks and"
        " Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations* (ICLR 2019).",
        _registry("xaibench.corruptions.base", "corruptions"),
    ),
    "checks": Family(
        "Self-checks",
        "Questions to a finished evaluation: whether its numbers are to be believed. What follows from each stands in"
        " [self-checks](../self-checks.md).",
        _registry("xaibench.checks.base", "checks"),
    ),
    "architectures": Family(
        "Architectures",
        "Networks that xaibench can build from a name: those of the shipped models, and of recipes.",
        _registry("xaibench.architectures", "architectures"),
    ),
    "compression": Family(
        "Compression",
        "Ways to a smaller copy of a model: `xaibench compress`.",
        _registry("xaibench.compression.base", "compressors"),
    ),
}


def pages() -> dict[str, str]:
    """All pages of the reference by their path below ``docs/``."""
    found = {f"reference/{name}.md": _family_page(family) for name, family in FAMILIES.items()}
    found["reference/certificates.md"] = _certificates()
    found["reference/data.md"] = _data_sets()
    found["reference/python.md"] = _api()
    return found


def _family_page(family: Family) -> str:
    registry = family.registry()
    methods = [(name, registry.get(name)) for name in registry]
    lines = [f"# {family.title}", "", family.intro, "", f"{len(methods)} of them:", ""]
    lines += [" · ".join(f"[`{name}`](#{name})" for name, _ in methods), ""]
    for name, cls in methods:
        lines += [f"## `{name}` {{ #{name} }}", "", markdown(inspect.getdoc(cls) or ""), "", *_fields(cls)]
    return "\n".join(lines)


def _certificates() -> str:
    from xaibench import certify

    lines = [
        "# Certificates",
        "",
        "What proves that no attack within a threat can succeed: lower bounds on robustness.",
    ]
    for name in certify.__all__:
        lines += _entry(name, getattr(certify, name))
    return "\n".join(lines)


def _data_sets() -> str:
    from xaibench.data import load_data
    from xaibench.data.hub import KNOWN
    from xaibench.data.load import _BUILTIN

    lines = ["# Data sets", "", "Known by name, besides whatever a path or an `owner/name` of the Hub leads to.", ""]
    for name, made in sorted(_BUILTIN.items()):
        said = inspect.getdoc(getattr(made, "func", made)) or ""
        options = getattr(made, "keywords", {})
        given = "".join(f" With `{key}={value!r}`." for key, value in options.items())
        lines += [f"## `{name}`", "", markdown(said) + given, ""]
    for name, full in sorted(KNOWN.items()):
        lines += [f"## `{name}`", "", f"`{full}` of the Hugging Face Hub, or its copy below `$XAIBENCH_DATA_HOME`.", ""]
    return "\n".join([*lines, *_entry("load_data", load_data)])


def _api() -> str:
    import xaibench

    lines = [
        "# Python",
        "",
        "Everything here is importable from `xaibench`; each name is loaded when it is first used.",
    ]
    for name in sorted(xaibench.__all__, key=str.lower):
        lines += _entry(name, getattr(xaibench, name))
    return "\n".join(lines)


def _entry(name: str, value: Any) -> list[str]:
    """A public function or class: how it is called, and what its docstring says."""
    lines = ["", f"## `{name}`", ""]
    if not inspect.isclass(value) or not hasattr(value, "_is_protocol"):
        lines += ["```text", _signature(name, value), "```", ""]
    lines += [markdown(inspect.getdoc(value) or ""), ""]
    if inspect.isclass(value):
        lines += _fields(value) if dataclasses.is_dataclass(value) else []
        lines += _members(value)
    return lines


def _signature(name: str, value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:
        return name
    parameters = [re.sub(r""": (['"])(.*?)\1(?= = |$)""", r": \2", str(one)) for one in signature.parameters.values()]
    short = f"{name}({', '.join(parameters)})"
    return short if len(short) <= 96 else f"{name}(\n    " + ",\n    ".join(parameters) + ",\n)"


def _members(cls: type) -> list[str]:
    """The public methods and properties of a class that are said to mean something."""
    rows = []
    for name, member in vars(cls).items():
        inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not (inspect.isfunction(inner) and inner.__doc__):
            continue
        first = inspect.cleandoc(inner.__doc__).partition("\n\n")[0]
        rows.append(f"- `{name}`: {markdown(' '.join(first.split()))}")
    return [*rows, ""] if rows else []


def _fields(cls: type) -> list[str]:
    """The fields of a dataclass as a table: name, type, default, and what stands below them in the source."""
    said = _said_of_fields(cls)
    rows = []
    for field in dataclasses.fields(cls):
        if field.name.startswith("_"):
            continue
        kind = str(field.type).strip("'")
        rows.append(f"| `{field.name}` | `{kind}` | {_default(field)} | {said.get(field.name, '')} |".replace("``", ""))
    return ["| field | type | default | |", "|---|---|---|---|", *rows, ""] if rows else []


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is dataclasses.MISSING else "made anew"
    shown = json.dumps(field.default) if isinstance(field.default, bool | str) else str(field.default)
    return f"`{shown}`"


def _said_of_fields(cls: type) -> dict[str, str]:
    """What is said below the fields of a class and of those that it is made from."""
    said: dict[str, str] = {}
    for one in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        except (OSError, TypeError):
            continue
        body = getattr(tree, "body", [])
        for field, after in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
                text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else ""
                if isinstance(text, str):
                    said[field.target.id] = markdown(" ".join(text.split())).replace("|", "\\|")
    return said


def markdown(doc: str) -> str:
    """A docstring as Markdown: its code, examples, tables and lists of arguments.

    >>> print(markdown("See ``x`` < 3.\\n\\nArgs:\\n    x: a number\\n        or none.\\n\\n>>> x\\n3"))
    See `x` &lt; 3.
    <BLANKLINE>
    Args:
    <BLANKLINE>
    - `x`: a number or none.
    <BLANKLINE>
    ```pycon
    >>> x
    3
    ```
    """
    return "\n\n".join(_paragraph(part) for part in _paragraphs(doc))


def _paragraphs(doc: str) -> Iterator[str]:
    yield from (part for part in re.split(r"\n\s*\n", doc.strip("\n")) if part.strip())


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{textwrap.dedent(text)}\n```"
    head, _, rest = text.partition("\n")
    if re.fullmatch(r"[A-Z]\w+:", head) and rest.startswith("    "):
        return f"{head}\n\n" + "\n".join(f"- {_prose(item)}" for item in _items(textwrap.dedent(rest)))
    if re.match(r"=+ +=", head):
        return f"```text\n{text}\n```"
    return _prose(text)


def _items(text: str) -> Iterator[str]:
    """The entries of a list of arguments, each on one line with its name as code."""
    for item in re.split(r"\n(?=\S)", text):
        line = " ".join(item.split())
        name, colon, meaning = line.partition(": ")
        yield f"`{name}`: {meaning}" if colon and " " not in name else line


def _prose(text: str) -> str:
    """Text with its code as Markdown has it, and nothing that could be taken for a tag."""
    pieces = re.split(r"(``[^`]+``|`[^`]+`)", text)
    return "".join(
        f"`{piece.strip('`')}`" if piece.startswith("`") else piece.replace("&", "&amp;").replace("<", "&lt;")
        for piece in pieces
    )
