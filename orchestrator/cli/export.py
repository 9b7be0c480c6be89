"""Commands for bundles: write one, predict and evaluate with it, train it again, publish it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from orchestrator.cli.app import PANEL_WINNER, app
from orchestrator.cli.options import Bundle, DataArguments, Json, ModelName, Name, Runs, Trial, Trust
from orchestrator.cli.output import print_json, print_lines, warn
from orchestrator.cli.run_argument import chosen_run
from orchestrator.cli.trust_question import settle_bundle_trust, settle_trust
from orchestrator.progress import EPOCHS, counted, span

if TYPE_CHECKING:
    from orchestrator.bundle.evaluation import ClassificationScore
    from orchestrator.bundle.inference import Engine
    from orchestrator.bundle.loading import Bundle as LoadedBundle


@app.command(rich_help_panel=PANEL_WINNER)
def export(
    name: Name = None,
    trial: Trial = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder of the bundle; must not exist.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Format to write in addition to the checkpoint. May be repeated. Default: all."),
    ] = None,
    runs: Runs = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write the winner as a bundle (checkpoint, safetensors, ONNX, .pt2, model card) and print its folder.

    Each format is run on validation data and must reproduce the checkpoint's outputs.

    Example: sweep export cifar10 --to bundle
    """
    from orchestrator.export import export as write_bundle

    run = chosen_run(name, runs)
    trust = settle_trust(run, trust)
    exported = write_bundle(run.name, run.runs, trial=trial, to=to, formats=formats, trust=trust)
    if as_json:
        print_json({"folder": str(exported.folder), "formats": list(exported.present),
                    "missing": dict(exported.missing), "seconds": exported.seconds})  # fmt: skip
        return
    for missing, reason in exported.missing.items():
        warn(f"without {missing}: {reason}")
    warn(f"{', '.join(exported.present)}: compared with the checkpoint in {exported.seconds:.1f} s")
    print_lines(str(exported.folder))


@app.command(rich_help_panel=PANEL_WINNER)
def predict(
    bundle: Bundle,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES]",
            help="Image files, or folders of them; or texts to continue. Without any, the module itself predicts its "
            "own data.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="onnx|torch", help="Default: ONNX Runtime if it runs the model, else torch."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to print for each image.")] = 3,
    length: Annotated[int, typer.Option("--length", min=1, help="Characters to add to each text.")] = 200,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE.png", help="Draw the images with their predictions.")
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Predict images with an exported model: classes and probabilities, or the reconstruction error.

    A model of characters continues texts. Without images, the module's own predict_step is run on the batches of its
    DataModule, whatever they hold, and its outputs are printed as JSON.

    Example: sweep predict bundle photo.png
    """
    from orchestrator.bundle import load_bundle
    from orchestrator.bundle.continuation import continue_text
    from orchestrator.bundle.image_input import check_writable, image_files
    from orchestrator.bundle.predictions import ImagePredictions

    if engine not in (None, "onnx", "torch"):
        raise typer.BadParameter(f"{engine!r} is neither onnx nor torch", param_hint="--engine")
    loaded = load_bundle(bundle, cast("Engine | None", engine), trust=trust)
    if not images:
        settle_bundle_trust(bundle, trust)
        _print_own_data(loaded, as_json=as_json)
        return
    if loaded.engine == "torch":  # reading model.pt2 may run code
        settle_bundle_trust(bundle, trust)
    if loaded.preprocessing.characters:
        written = [{"text": text, "continued": continue_text(loaded, text, length)} for text in images]
        if as_json:
            print_json(written)
        else:
            print_lines(*(line for each in written for line in each["continued"].split("\n")))
        return
    predictions = ImagePredictions(loaded, image_files([Path(image) for image in images]), top)
    if grid:
        check_writable(grid)
    if as_json:
        print_json([prediction.as_json() for prediction in predictions])
    else:
        print_lines(*(str(prediction) for prediction in predictions))
    if grid:
        predictions.grid().save(grid)


def _print_own_data(bundle: LoadedBundle, *, as_json: bool) -> None:
    from orchestrator.bundle.module_run import plain, predict_own_data

    outputs = [plain(output) for output in predict_own_data(bundle.manifest)]
    if as_json:
        print_json([{"batch": number, "outputs": output} for number, output in enumerate(outputs)])
    else:
        print_lines(*(json.dumps(output) for output in outputs))


@app.command(rich_help_panel=PANEL_WINNER)
def evaluate(
    bundle: Bundle,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR|IMPORT.PATH", help="A folder of images, or another DataModule."),
    ] = None,
    overrides: DataArguments = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Score an exported model on validation data: of its DataModule, of another, or of folders named as classes.

    The test set is not used: `sweep test` evaluates on it and records each evaluation.

    Example: sweep evaluate bundle --data photos
    """
    from orchestrator.bundle import load_bundle
    from orchestrator.bundle.evaluation import score_folder

    loaded = load_bundle(bundle, trust=trust)
    if data is not None and Path(data).is_dir():
        if overrides:
            raise typer.BadParameter("a folder takes no arguments", param_hint="--set")
        _print_score(score_folder(loaded, Path(data)), as_json=as_json)
    elif data is not None and ("/" in data or "." not in data.strip(".")):
        raise typer.BadParameter(f"{data!r} is neither a folder nor an import path", param_hint="--data")
    else:
        settle_bundle_trust(bundle, trust)
        _print_validated(loaded, data, overrides or [], as_json=as_json)


@app.command(rich_help_panel=PANEL_WINNER)
def replay(bundle: Bundle, overrides: DataArguments = None, trust: Trust = False, as_json: Json = False) -> None:
    """Train an exported model again from its bundle, and compare: identical, within tolerance, or different.

    Exits with code 1 if it differs. Imports the classes that the bundle names: use it only for bundles you trust.

    Example: sweep replay bundle
    """
    import math
    from dataclasses import asdict

    from orchestrator.bundle.bundle_manifest import CONFIG, verify_bundle
    from orchestrator.bundle.evaluation import parse_arguments

    manifest = verify_bundle(bundle)
    data_arguments = parse_arguments(overrides or [])
    config = manifest.read_json(CONFIG)
    settle_bundle_trust(bundle, trust)
    from orchestrator.bundle.replay import replay as train_again
    from orchestrator.training.job import model_name

    warn(f"training {model_name(config['model'])} of {bundle} again for {span(config['epoch'], EPOCHS)}")
    replayed = train_again(manifest, data_arguments)
    recorded, now = replayed.objective
    if as_json:
        values = [value if math.isfinite(value) else None for value in replayed.objective]
        print_json({**asdict(replayed), "objective": values})
    else:
        print_lines(
            f"{replayed.verdict}: {config['metric']} {recorded:.9g} then, {now:.9g} now, "
            f"after {span(replayed.epochs, EPOCHS)}"
        )
        print_lines(*(f"  {line}" for line in (*replayed.where, *replayed.environment)))
    if replayed.verdict == "differs":
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL_WINNER)
def publish(
    bundle: Bundle,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A folder of models; writes DIR/NAME/VERSION.")
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option("--wandb", metavar="PROJECT", help="A W&B project, or ENTITY/PROJECT; logs an artifact."),
    ] = None,
    name: ModelName = "",
    as_json: Json = False,
) -> None:
    """Verify every file of a bundle, and publish it to a folder of versions or to W&B as an artifact.

    Example: sweep publish bundle --to models
    """
    from orchestrator.bundle.bundle_manifest import verify_bundle
    from orchestrator.errors import UsageError

    if not to and not wandb:
        raise UsageError("specify --to or --wandb", hint="--to DIR, or --wandb PROJECT")
    manifest = verify_bundle(bundle)
    from orchestrator.export.publish import publish_to_folder, publish_to_wandb

    folder = str(publish_to_folder(manifest, to, name)) if to else None
    artifact = publish_to_wandb(manifest, wandb, name) if wandb else None
    if as_json:
        print_json({"folder": folder, "artifact": artifact})
    else:
        print_lines(*filter(None, (folder, artifact)))


@app.command("export-optuna", rich_help_panel=PANEL_WINNER)
def export_optuna(
    name: Name = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A new SQLite file. Default: NAME.db.", show_default=False)
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Write a run as an Optuna study into a new SQLite file, for other tools. NAME may be -, the newest run.

    Example: sweep export-optuna cifar10 study.db
    """
    from orchestrator.optuna_studies.study_export import export_study

    run = chosen_run(name, runs)
    written = str(export_study(run, file or Path(f"{run.name}.db")))
    print_json({"name": run.name, "file": written}) if as_json else print_lines(written)


def _print_validated(bundle: LoadedBundle, class_path: str | None, overrides: list[str], *, as_json: bool) -> None:
    from orchestrator.bundle.evaluation import parse_arguments, validate

    metrics = validate(bundle.manifest, class_path, parse_arguments(overrides))
    recorded = bundle.config["metrics"] if class_path is None else {}
    if as_json:
        print_json({"metrics": metrics, "recorded": {name: recorded.get(name) for name in metrics}})
        return
    for name, value in metrics.items():
        comparison = f"   recorded {recorded[name]:.6g}" if recorded.get(name) is not None else ""
        print_lines(f"{name} {value:.6g}{comparison}")


def _print_score(score: ClassificationScore, *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json(asdict(score))
        return
    print_lines(f"accuracy {score.accuracy:.4f} of {counted(score.images, 'image')}")
    for name, (correct, total) in score.classes.items():
        print_lines(f"  {name}: {correct} of {total}")
    for truth, prediction, times in score.confused[:10]:
        print_lines(f"  {truth} predicted as {prediction}: {times}")
