"""Commands for the winner: what is done with the best of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.app import Bundle, DataArguments, Json, Name, Runs, app, complain, print_json, say


@app.command(rich_help_panel="The winner")
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of the trial; else the winner.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The bundle's folder, not there yet.")] = None,
    runs: Runs = None,
) -> None:
    """Write the winner as a bundle (checkpoint, safetensors, ONNX, .pt2, model card), and print its folder.

    Each format is run on validation data and has to give what the checkpoint gives.
    """
    from orchestrator.export import export_with_report

    found = export_with_report(name, runs, trial=trial, to=to)
    for missing, reason in found.missing.items():
        complain(f"without {missing}: {reason}")
    complain(f"{', '.join(found.present)}: compared with the checkpoint in {found.seconds:.1f} s")
    say(str(found.folder))


@app.command(rich_help_panel="The winner")
def predict(
    bundle: Bundle,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Picture files, or folders of them.")],
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="onnx|torch", help="Else ONNX Runtime if it can be, or torch.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to print for each picture.")] = 3,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE.png", help="Draw the pictures with their answers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What an exported model says of pictures: classes and probabilities, or how well it rebuilds each."""
    from orchestrator.bundle import load_bundle
    from orchestrator.bundle.image_input import check_writable, found
    from orchestrator.bundle.predictions import Answers

    answers = Answers(load_bundle(bundle, _engine(engine)), found(images), top)
    if grid:
        check_writable(grid)
    if as_json:
        print_json([answer.as_json() for answer in answers])
    else:
        for answer in answers:
            say(str(answer))
    if grid:
        answers.grid().save(grid)


@app.command(rich_help_panel="The winner")
def evaluate(
    bundle: Bundle,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR|IMPORT.PATH", help="Folders of pictures, or another DataModule."),
    ] = None,
    overrides: DataArguments = None,
    as_json: Json = False,
) -> None:
    """Score an exported model: on the validation part of its DataModule or another, or on folders named as classes.

    The test set is not touched here: `sweep test` is for that, and counts the looks.
    """
    from orchestrator.bundle import load_bundle
    from orchestrator.bundle.evaluation import count

    loaded = load_bundle(bundle)
    if data is not None and Path(data).is_dir():
        if overrides:
            raise typer.BadParameter("a folder takes no arguments", param_hint="--set")
        _print_counted(count(loaded, Path(data)), as_json)
    elif data is not None and ("/" in data or "." not in data.strip(".")):
        raise typer.BadParameter(f"{data!r} is neither a folder nor an import path", param_hint="--data")
    else:
        _print_validated(loaded, data, overrides or [], as_json)


def _engine(name: str | None) -> Any:
    if name not in (None, "onnx", "torch"):
        raise typer.BadParameter(f"{name!r} is neither onnx nor torch", param_hint="--engine")
    return name


def _print_validated(bundle: Any, class_path: str | None, overrides: list[str], as_json: bool) -> None:
    from orchestrator.bundle.evaluation import arguments, validate

    metrics = validate(bundle.manifest, class_path, arguments(overrides))
    recorded = bundle.config["metrics"] if class_path is None else {}
    if as_json:
        print_json({"metrics": metrics, "recorded": {name: recorded.get(name) for name in metrics}})
        return
    for name, value in metrics.items():
        beside = f"   recorded {recorded[name]:.6g}" if recorded.get(name) is not None else ""
        say(f"{name} {value:.6g}{beside}")


def _print_counted(found: Any, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json(asdict(found))
        return
    say(f"accuracy {found.accuracy:.4f} of {found.images} pictures")
    for name, (right, total) in found.classes.items():
        say(f"  {name}: {right} of {total}")
    for truth, guess, times in found.confused[:10]:
        say(f"  {truth} taken for {guess}: {times}")
