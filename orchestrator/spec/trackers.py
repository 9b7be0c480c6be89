"""Where metrics go besides the run directory: the options of each tracker in a sweep file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.parts import Part


class WandbTracking(Part):
    """Weights & Biases."""

    project: str = Field(min_length=1, description="The project that runs go to.", examples=["cifar10"])
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        default="auto", description="auto: online where a login is found, else offline.", examples=["auto"]
    )
    entity: str | None = Field(default=None, description="The user or team that owns the project.", examples=["team"])
    log_model: Literal["best"] | None = Field(
        default=None, description="best: the winner's checkpoint goes there as an artifact.", examples=["best"]
    )


class TensorboardTracking(Part):
    """TensorBoard: event files in each trial's folder."""

    flush_secs: int = Field(default=30, ge=1, description="Seconds between writes to disk.", examples=[10])


class MlflowTracking(Part):
    """MLflow."""

    tracking_uri: str | None = Field(
        default=None,
        description="The server, or a folder; else MLFLOW_TRACKING_URI, else mlruns in the run directory.",
        examples=["http://localhost:5000"],
    )
    experiment: str | None = Field(
        default=None, min_length=1, description="The experiment; else the sweep's name.", examples=["cifar10"]
    )


def _plain(value: Any) -> Any:
    """``true`` for a tracker without options, ``false`` for none."""
    return {True: {}, False: None}.get(value, value) if isinstance(value, bool) else value


class Tracking(Part):
    """Where metrics go beside the run directory. A tracker that is slow, broken or gone never holds up a trial."""

    wandb: WandbTracking | None = Field(
        default=None, description="Log to Weights & Biases.", examples=[{"project": "cifar10"}]
    )
    tensorboard: Annotated[
        TensorboardTracking | None, BeforeValidator(_plain, json_schema_input_type=bool | TensorboardTracking | None)
    ] = Field(default=None, description="Write TensorBoard's event files; true will do.", examples=[True])
    mlflow: Annotated[
        MlflowTracking | None, BeforeValidator(_plain, json_schema_input_type=bool | MlflowTracking | None)
    ] = Field(
        default=None, description="Log to MLflow; true will do.", examples=[{"tracking_uri": "http://localhost:5000"}]
    )

    @property
    def wanted(self) -> dict[str, dict[str, Any]]:
        """The options of each tracker that is on, by its name."""
        return {name: options for name, options in self.model_dump().items() if options is not None}
