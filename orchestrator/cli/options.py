"""Arguments and options that commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import completion

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="The run: its name, a unique beginning of it, its path or URL. Default: the newest run here.",
        autocompletion=completion.run_names,
        show_default=False,
    ),
]
RequiredName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The run: its name, a unique beginning of it, its path or URL.",
        autocompletion=completion.run_names,
    ),
]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A sweep file, or the name of a shipped one.",
        autocompletion=completion.sweep_files,
    ),
]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `sweep export` has written.")]

Runs = Annotated[
    str | None,
    typer.Option(
        "--runs",
        metavar="DIR|URL",
        help="Folder or URL (s3://…, gs://…) of the run directories. Default: $SWEEP_RUNS, else ./runs.",
    ),
]
NodeRuns = Annotated[
    str, typer.Option("--runs", metavar="DIR|URL", help="Run directories, as every node of the cluster sees them.")
]

RunName = Annotated[str | None, typer.Option("--name", help="Name of the run. Default: the name in the sweep file.")]
ModelName = Annotated[str, typer.Option("--name", help="Name of the model. Default: the name of the sweep.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a field of the sweep file: --set budget.trials=4. May be repeated.",
        autocompletion=completion.settings,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Apply a preset of the sweep file, before --set.",
        autocompletion=completion.presets,
    ),
]
DataArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Set an argument of the DataModule: --set data_dir=DIR. May be repeated."
    ),
]

Trust = Annotated[
    bool, typer.Option("--trust", help="Import the code that the run or bundle names, although somebody else wrote it.")
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Trial = Annotated[
    int | None,
    typer.Option("--trial", help="Number of the trial. Default: the winner.", autocompletion=completion.trial_numbers),
]

Local = Annotated[bool, typer.Option("--local", help="Run in this process, one trial at a time, without Ray.")]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach", "-d", help="Run in a process that outlives this terminal, and return once the sweep runs."
    ),
]
Address = Annotated[
    str,
    typer.Option(
        "--address", envvar="RAY_ADDRESS", metavar="ADDRESS", help="Run on an existing Ray cluster: auto, or host:port."
    ),
]
HeadAddress = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="Address of the Ray cluster's head node.")
]

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="FILE|URL",
        help="Submit to a cluster, named by its file or its dashboard's URL, and return.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token",
        metavar="FILE",
        help="File of the cluster's token. Default: $RAY_AUTH_TOKEN_PATH, else ~/.sweep/token.",
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Submit to a cluster that requires no token.")]
