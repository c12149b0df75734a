"""Options: what a part of the library can be told, declared beside the code that reads it.

A part declares `Option`s under dotted names, such as `model.channels`. A run's config holds exactly
those of the parts that it chose; nvc_jax/config.py collects them.
"""

import ast
import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_collections

from nvc_jax.core.errors import UserError

TIME = "a share of the run up to 1, above that a number of steps"


@dataclass(frozen=True)
class Option:
    """One key of a config.

    Attributes:
      name: dotted, `GROUP.NAME`.
      default: its value where none is given; the value's type is that of every other.
      meaning: a line about it.
      choices: the values that are allowed; (): any.
      above: numbers, and those in a tuple, are greater than this.
      at_least: they are this or more.
      below: they are less than this.
      at_most: they are this or less.
      item: type of a tuple's values, where the default is empty.
      time: it is a place or a length in time: a share of the run up to 1, above that a number of steps.
    """

    name: str
    default: Any
    meaning: str
    choices: tuple[Any, ...] = ()
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    item: type | None = None
    time: bool = False

    def convert(self, value: Any) -> Any:
        """The value as this option's type: lists become tuples, whole numbers floats.

        Raises:
          TypeError: if it is of another type.
        """
        return self._convert(value, self.default)

    def _convert(self, value: Any, like: Any) -> Any:
        """See `convert`."""
        if isinstance(like, tuple) and isinstance(value, (tuple, list)):
            kind = like[0] if like else (self.item or float)()
            return tuple(self._convert(v, kind) for v in value)
        if isinstance(like, float) and type(value) is int:
            return float(value)
        if type(value) is not type(like):
            raise TypeError(f"expected {type(like).__name__}, got {value!r}")
        return value

    def parse(self, text: str) -> Any:
        """Reads text as a value: a number, true/false, a word, or a tuple such as `512,256`.

        Raises:
          UserError: for text that is no value of this option's type.
        """
        wrong = UserError(
            f"config.{self.name} takes a value of type {type(self.default).__name__}, such as "
            f"{self.default!r}, got {text!r}."
        )
        if isinstance(self.default, str):
            return text
        if isinstance(self.default, bool):
            words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
            if text.lower() not in words:
                raise wrong
            return words[text.lower()]
        try:
            value = ast.literal_eval(text)
            if isinstance(self.default, tuple) and not isinstance(value, (tuple, list)):
                value = (value,)
            return self.convert(value)
        except (ValueError, SyntaxError, TypeError):
            raise wrong from None

    def check(self, value: Any) -> None:
        """Checks a converted value.

        Raises:
          UserError: for a value that is none of the choices, or out of bounds.
        """
        if self.choices and value not in self.choices:
            raise UserError(
                f"{self.name} is {value!r}: use one of {', '.join(map(str, self.choices))}."
            )
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not self._is_within(number):
                raise UserError(f"{self.name} is {value}: it must be {self._bounds()}.")

    def _is_within(self, number: float) -> bool:
        """Whether a number keeps the bounds; NaN keeps none."""
        if self.time and number > 1 and number != int(number):
            return False
        return (
            (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
            and not math.isnan(number)
        )

    def _bounds(self) -> str:
        """What numbers have to be, in words."""
        if self.time:
            return f"{TIME}, not negative"
        words = {
            "greater than": self.above,
            "at least": self.at_least,
            "less than": self.below,
            "at most": self.at_most,
        }
        return " and ".join(f"{word} {n:g}" for word, n in words.items() if n is not None)


def option_group(*options: Option) -> tuple[Option, ...]:
    """Options with every name once.

    Raises:
      ValueError: where one name has two declarations, which no run could tell apart.
    """
    by_name: dict[str, Option] = {}
    for option in options:
        if by_name.setdefault(option.name, option) != option:
            raise ValueError(f"two different declarations of the option {option.name}")
    return tuple(by_name.values())


def steps_of(time: float, num_steps: int) -> int:
    """A place or length in time as a number of steps: a share of the run up to 1, above that steps."""
    return round(time * num_steps) if time <= 1 else int(time)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterates over (dotted name, value); groups may be nested, or part of the names."""
    for key, value in settings.items():
        if isinstance(value, (Mapping, ml_collections.ConfigDict)):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def leaves(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Value of every dotted name of a config."""
    return dict(flatten(config))


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known dotted name that looks most like `name`."""

    def likeness(other: str) -> float:
        pairs = (name, other), (name.rsplit(".", 1)[-1], other.rsplit(".", 1)[-1])
        whole, last = (difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)
        return max(whole, last) + 0.01 * whole

    return max(known, key=likeness)


def unknown_key(name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is no option of the run."""
    group = [other for other in known if other.startswith(f"{name}.")]
    if group:
        return UserError(f"config.{name} is a group: set one of {', '.join(group)}.")
    return UserError(
        f"Unknown config key {name!r}: nothing that this run chose reads it; did you mean "
        f"{nearest_name(name, known)!r}?"
    )


def build(settings: Mapping[str, Any], options: Iterable[Option]) -> ml_collections.ConfigDict:
    """The config of some options: defaults, and over them the settings.

    Args:
      settings: value by dotted name, of the options' types.
      options: every key of the config.

    Returns:
      The locked config.

    Raises:
      UserError: for a key that is no option (the nearest is suggested), or a value of another type, out
        of bounds, or not among the choices.
    """
    by_name = {option.name: option for option in options}
    values = {name: option.default for name, option in by_name.items()}
    for name, value in settings.items():
        if name not in by_name:
            raise unknown_key(name, by_name)
        try:
            values[name] = by_name[name].convert(value)
        except TypeError as error:
            raise UserError(f"wrong value for {name}: {error}.") from None
    for name, value in values.items():
        by_name[name].check(value)
    config = ml_collections.ConfigDict()
    for name, value in values.items():
        *groups, last = name.split(".")
        target = config
        for group in groups:
            if group not in target:
                target[group] = ml_collections.ConfigDict()
            target = target[group]
        target[last] = value
    return config.lock()


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes a config as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"
