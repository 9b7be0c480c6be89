"""Data as a user of pytorch-forecasting makes them: ten series, their last steps for validation."""

import numpy as np
import pandas as pd
from pytorch_forecasting import TimeSeriesDataSet

LENGTH, AHEAD = 60, 6
frame = pd.DataFrame(
    {
        "series": np.repeat([f"s{number}" for number in range(10)], LENGTH),
        "time": np.tile(np.arange(LENGTH), 10),
        "value": np.concatenate([np.sin(np.arange(LENGTH) / 5 + number) + number for number in range(10)]),
    }
)


def training():
    return TimeSeriesDataSet(
        frame[frame.time < LENGTH - AHEAD],
        time_idx="time",
        target="value",
        group_ids=["series"],
        max_encoder_length=12,
        max_prediction_length=AHEAD,
        static_categoricals=["series"],
        time_varying_known_reals=["time"],
        time_varying_unknown_reals=["value"],
    )


def loaders(dataset, batch_size=32):
    held_out = TimeSeriesDataSet.from_dataset(dataset, frame, predict=True, stop_randomization=True)
    loader = held_out.to_dataloader(train=False, batch_size=batch_size)
    return {"train": dataset.to_dataloader(train=True, batch_size=batch_size), "val": loader, "test": loader}
