"""Try the arguments of every configuration on a script's own parser, at the moment that the script calls it.

So a typo, a value of another type and a choice that the parser does not know are found before anything is trained,
for all ends of all domains. It knows argparse, jsonargparse with LightningCLI, click, typer, Hydra and OmegaConf.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

from orchestrator.training.doors.import_hook import on_import

_USAGE_ERROR = 2  # the exit code of argparse, click and those that build on them
_CLICK = ("click.core", "typer._click.core")
_HYDRA = "hydra._internal.hydra"


class RefusedError(BaseException):
    """A parser refuses the arguments of a configuration; raised in the script, past its ``except Exception``."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number, self.said = number, said


@dataclass
class _Probe:
    """Parses each of ``commands`` where the script first parses its own command line.

    Attributes:
        commands: the words of each configuration.
        is_done: whether a parser that refuses what it does not know has had them.
        passed_on: what parsers that pass on what they do not know have left of each; None if there was no such parser.
        own_rest: what they have left of the script's own words.
    """

    commands: Sequence[Sequence[str]]
    undo: list[Callable[[], None]] = field(default_factory=list)
    is_done: bool = False
    passed_on: list[list[str]] | None = None
    own_rest: list[str] = field(default_factory=list)

    def replace(self, owner: Any, name: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace a function until the end of the probe."""
        original = getattr(owner, name)
        self.undo.append(lambda: setattr(owner, name, original))
        setattr(owner, name, functools.wraps(original)(wrapped(original)))

    def words_for(self, args: Any) -> Sequence[Sequence[str]]:
        """Return the words to try where a parser gets ``args``: none if these are not the script's own."""
        own = list.__getitem__(sys.argv, slice(1, None))  # which is no reading by the script: see `CommandLine`
        if args is None or list(args) == own:
            return self.commands
        return self.passed_on or () if list(args) == self.own_rest else ()

    def each(self, parse: Callable[[list[str]], Any], commands: Sequence[Sequence[str]]) -> None:
        """Parse command lines, once. Raises RefusedError for the first that is refused."""
        if self.is_done or not commands:
            return
        self.is_done = True
        for number, words in enumerate(commands):
            said = io.StringIO()
            try:
                with redirect_stderr(said):
                    parse(list(words))
            except SystemExit as error:
                if error.code == _USAGE_ERROR:
                    raise RefusedError(number, said.getvalue()) from None
            except Exception as error:
                if type(error).__module__.partition(".")[0] in ("click", "typer", "hydra"):
                    text = error.format_message() if hasattr(error, "format_message") else str(error)
                    raise RefusedError(number, f"error: {text}") from None

    def unchecked(self) -> list[str] | None:
        """Return the words that no parser has checked; None if none was called."""
        if self.is_done:
            return []
        return None if self.passed_on is None else [word for words in self.passed_on for word in words]

    def of_argparse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``parse_args`` that tries all command lines if it is called for the script's own."""

        def parse_args(parser: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
            self.each(lambda words: original(parser, words), self.words_for(args))
            return original(parser, args, *rest, **options)

        return parse_args

    def of_known_args(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``parse_known_args`` that does so and keeps what is passed on, perhaps to a second parser."""

        def parse_known_args(parser: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
            left: list[list[str]] = []
            if not self.is_done and (commands := self.words_for(args)):
                self.each(lambda words: left.append(original(parser, words)[1]), commands)
                self.is_done = False
            returned = original(parser, args, *rest, **options)
            if left:
                self.passed_on, self.own_rest = left, list(returned[1])
            return returned

        return parse_known_args

    def of_click(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``make_context`` that does so for a command that is not another's part."""

        def make_context(command: Any, name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
            def parse(words: list[str]) -> None:
                context, inner = original(command, name, list(words), **extra), command
                while rest := _of_subcommand(inner, context):
                    chosen, inner, rest = inner.resolve_command(context, rest)
                    context = original(inner, chosen, rest, parent=context)

            if parent is None and list(args) == sys.argv[1:]:
                self.each(parse, self.commands)
            return original(command, name, args, parent=parent, **extra)

        return make_context

    def of_hydra(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``Hydra.run`` that composes the configuration of each command line first."""

        def run(hydra: Any, config_name: Any, task_function: Any, overrides: Any, **options: Any) -> Any:
            def compose(words: list[str]) -> None:
                given = [word for word in words if not word.startswith("-")]
                mode = sys.modules["hydra.types"].RunMode.RUN
                hydra.compose_config(
                    config_name=config_name, overrides=given, run_mode=mode, with_log_configuration=False
                )

            self.is_done = False  # argparse, which Hydra uses, takes any override
            self.each(compose, self.commands)
            return original(hydra, config_name, task_function, overrides, **options)

        return run

    def of_omegaconf(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``OmegaConf.from_cli`` that refuses ``--name=value``, which it would take for another name."""

        def from_cli(args: Any = None) -> Any:
            for number, words in enumerate(self.words_for(args)):
                if wrong := next((word for word in words if word.startswith("--")), None):
                    raise RefusedError(number, f"error: OmegaConf.from_cli takes name=value, but got {wrong}")
                self.passed_on = [*(self.passed_on or []), list(words)]
            return original(args)

        return from_cli


@contextmanager
def probing(commands: Sequence[Sequence[str]]) -> Iterator[Callable[[], list[str] | None]]:
    """Try command lines on the parser that the script calls within the block. Raises RefusedError at that place.

    What is yielded returns the words that no parser has checked; None if no parser that is known was called.
    """
    import argparse

    probe = _Probe(commands)
    with ExitStack() as stack:
        if commands:
            probe.replace(argparse.ArgumentParser, "parse_args", probe.of_argparse)
            probe.replace(argparse.ArgumentParser, "parse_known_args", probe.of_known_args)
            stack.enter_context(on_import("jsonargparse", lambda module: _jsonargparse(probe, module)))
            for name in _CLICK:
                stack.enter_context(on_import(name, lambda module: _click(probe, module)))
            stack.enter_context(on_import("omegaconf", lambda module: _omegaconf(probe, module)))
            stack.enter_context(on_import(_HYDRA, lambda module: probe.replace(module.Hydra, "run", probe.of_hydra)))
        try:
            yield probe.unchecked
        finally:
            while probe.undo:
                probe.undo.pop()()


def _of_subcommand(command: Any, context: Any) -> list[str]:
    """Return the words that are left for a subcommand; none for a command that has none, or takes several at once."""
    if not hasattr(command, "resolve_command") or getattr(command, "chain", False):
        return []
    return [*(getattr(context, "_protected_args", None) or ()), *context.args]


def _omegaconf(probe: _Probe, module: Any) -> None:
    probe.replace(module.OmegaConf, "from_cli", probe.of_omegaconf)


def _jsonargparse(probe: _Probe, module: Any) -> None:
    probe.replace(module.ArgumentParser, "parse_args", probe.of_argparse)


def _click(probe: _Probe, module: Any) -> None:
    probe.replace(module.Command, "make_context", probe.of_click)
