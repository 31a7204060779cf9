"""Registries: a decorator makes a method known by name, and a `Spec` recreates it."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from xaibench.errors import InputError, unknown_name

__all__ = ["Registry", "Spec"]

T = TypeVar("T")
C = TypeVar("C", bound=type)


@dataclasses.dataclass(frozen=True)
class Spec:
    """The name of a registered method and its parameters: all that is needed to make it again.

    >>> Spec.parse("pgd:steps=20,restarts=2")
    Spec(name='pgd', params={'steps': 20, 'restarts': 2})
    >>> Spec.parse("mlp:input_shape=[1, 8, 8],classes=10").params
    {'input_shape': [1, 8, 8], 'classes': 10}
    >>> str(Spec("pgd", {"steps": 20, "random_start": False}))
    'pgd:steps=20,random_start=false'

    A spec within a spec, or any text that holds a comma, is quoted:

    >>> str(Spec("awp", {"objective": "trades:beta=3,steps=2", "gamma": 0.01}))
    'awp:objective="trades:beta=3,steps=2",gamma=0.01'
    >>> Spec.parse('awp:objective="trades:beta=3,steps=2",gamma=0.01').params["objective"]
    'trades:beta=3,steps=2'
    """

    name: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | Spec) -> Spec:
        """Read ``name`` or ``name:key=value,key=value``; values are JSON, else text up to the next comma."""
        if isinstance(text, Spec):
            return text
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected the name of a method, or a spec such as 'pgd:steps=20', got {text!r}")
        name, _, rest = text.partition(":")
        params: dict[str, Any] = {}
        for key, value in _items(rest, of=name):
            if key in params:
                raise InputError(f"expected {key!r} once, got it twice in {text!r}")
            params[key] = value
        return cls(name.strip(), params)

    def adding(self, params: Mapping[str, Any]) -> Spec:
        """The same with further parameters; one that is there already raises `InputError`."""
        if twice := sorted(self.params.keys() & params.keys()):
            both = f"{self} and {twice[0]}={params[twice[0]]!r}"
            raise InputError(f"expected {twice[0]!r} once, in the spec or as a keyword, got {both}")
        return Spec(self.name, {**self.params, **params})

    def __str__(self) -> str:
        params = ",".join(f"{key}={_written(value)}" for key, value in self.params.items())
        return f"{self.name}:{params}" if params else self.name


def _items(text: str, *, of: str) -> Iterator[tuple[str, Any]]:
    """The parameters in ``key=value,key=value``."""
    while text := text.lstrip(", "):
        key, equals, rest = text.partition("=")
        if not equals or "," in key:
            raise InputError(f"expected key=value after {of!r}, got {text.partition(',')[0]!r}")
        value, text = _first_value(rest)
        yield key.strip(), value


def _first_value(text: str) -> tuple[Any, str]:
    """The value that ``text`` begins with, and what follows it."""
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
        if not text[end:].strip() or text[end:].lstrip().startswith(","):
            return value, text[end:]
    except json.JSONDecodeError:
        pass
    end = len(re.match(r"(?:\[[^\]]*\]|[^,])*", text).group())  # type: ignore[union-attr]  # it matches nothing at least
    return text[:end], text[end:]


def _written(value: Any) -> str:
    """A value as a spec holds it: text as it is, where it reads as the same text, else JSON."""
    plain = isinstance(value, str) and _first_value(value) == (value, "")
    return value if plain else json.dumps(value, ensure_ascii=False)


class Registry(Generic[T]):
    """Methods of one kind by name.

    >>> attacks: Registry[Any] = Registry("attack")
    >>> @attacks.register("noop")
    ... @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class NoOp:
    ...     steps: int = 1
    >>> attacks.create(Spec("noop", {"steps": 3}))
    NoOp(steps=3)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Make a frozen dataclass known as ``name``; the class gains a ``name`` attribute."""

        def decorate(cls: C) -> C:
            if name in self._classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._classes[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(self._classes))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def get(self, name: str) -> type:
        """The class behind a name; an unknown one raises `InputError` with the nearest names."""
        if name not in self._classes:
            raise unknown_name(self.kind, name, self._classes)
        return self._classes[name]

    def create(self, spec: Spec | str) -> T:
        """Make the method that a spec (or its text) describes, checking names and types of its parameters."""
        spec = Spec.parse(spec)
        cls = self.get(spec.name)
        hints = typing.get_type_hints(cls)
        fields = {field.name for field in dataclasses.fields(cls)}
        params = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.params.items()}
        for key, value in params.items():
            if key not in fields:
                raise unknown_name(f"parameter of {self.kind} {spec.name}", key, fields)
            if not _fits(value, hints[key]):
                raise InputError(
                    f"expected `{key}` of {self.kind} {spec.name} as {_describe(hints[key])}, got {value!r}"
                )
        try:
            return typing.cast(T, cls(**params))
        except TypeError as error:
            raise InputError(f"expected all parameters of {self.kind} {spec.name}, got: {error}") from None

    def spec(self, method: Any) -> Spec:
        """The spec that recreates ``method``; holds the fields that differ from their defaults."""
        params = {
            field.name: getattr(method, field.name)
            for field in dataclasses.fields(method)
            if getattr(method, field.name) != field.default
        }
        return Spec(method.name, params)


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _describe(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, options))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_describe, options))
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))
