"""Sweep real projects, each in an environment of its own: `make test-projects`.

    python -m tests.projects [NAME…] [--home .projects] [--write]

``--write`` makes docs/compatibility.md of what is known of all projects, in this run or an earlier one.
Exit code 1 if fewer than ten of twelve launch unmodified.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.projects.catalogue import PROJECTS, Project
from tests.projects.environment import NotHadError, own_versions, prepared, version
from tests.projects.steps import STEPS, Row, tried
from tests.projects.table import page
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
ENOUGH = 10


def one(project: Project, home: Path, steps: Sequence[str] = STEPS) -> Row:
    """Return what came of a project, of the steps up to the last of ``steps``."""
    try:
        python, folder = prepared(project, home)
    except NotHadError as error:
        return Row(project.name, steps={"launch": str(error)})
    except subprocess.CalledProcessError as error:
        return Row(project.name, steps={"launch": f"its data cannot be made: {error}"})
    row = tried(project, python, folder, steps)
    row.version = version(project, python)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweep real projects, each in an environment of its own.")
    parser.add_argument("names", nargs="*", help=f"by default all: {', '.join(each.name for each in PROJECTS)}")
    parser.add_argument("--home", type=Path, default=ROOT / ".projects", help="where environments and runs are kept")
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="the last step to try")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md")
    options = parser.parse_args()
    record = options.home / "results.json"
    known = {name: Row(**fields) for name, fields in json.loads(record.read_text()).items()} if record.exists() else {}
    chosen = [each for each in PROJECTS if not options.names or each.name in options.names]
    for project in chosen:
        row = known[project.name] = one(project, options.home.absolute(), STEPS[: STEPS.index(options.until) + 1])
        said = ", ".join(f"{name} {outcome}" for name, outcome in row.steps.items())
        print(f"{project.name} {row.version}, {row.seconds:.0f} s: {said}", flush=True)
        options.home.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({name: asdict(each) for name, each in known.items()}, indent=1))
    launched = sum(row.launches for row in known.values())
    print(f"{launched} of {len(PROJECTS)} launch unmodified")
    if options.write:
        PAGE.write_text(page(known, own_versions()))
    sys.exit(0 if launched >= ENOUGH or options.names else 1)


if __name__ == "__main__":
    main()
