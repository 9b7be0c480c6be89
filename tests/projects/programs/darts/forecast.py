"""As in darts' own quickstart: two series, a model, fit."""

from darts.models import NBEATSModel
from darts.utils.timeseries_generation import sine_timeseries


def main(lr=1e-3, layer_widths=16, n_epochs=3):
    train, val = sine_timeseries(length=200).astype("float32").split_after(0.75)
    model = NBEATSModel(
        input_chunk_length=12,
        output_chunk_length=4,
        n_epochs=n_epochs,
        layer_widths=layer_widths,
        num_blocks=1,
        optimizer_kwargs={"lr": lr},
        pl_trainer_kwargs={"accelerator": "cpu"},
    )
    model.fit(train, val_series=val)
    print(model.predict(4).values())
