"""As in neuralforecast's own quickstart: a frame of series, a model, fit."""

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import NHITS


def main(learning_rate=1e-3, dropout_prob_theta=0.0, max_steps=60):
    days = pd.date_range("2020-01-01", periods=120, freq="D")
    frame = pd.concat(
        pd.DataFrame({"unique_id": f"s{n}", "ds": days, "y": np.sin(np.arange(120) / 4 + n) + n}) for n in range(4)
    )
    model = NHITS(
        h=6,
        input_size=24,
        max_steps=max_steps,
        val_check_steps=20,
        learning_rate=learning_rate,
        dropout_prob_theta=dropout_prob_theta,
        enable_progress_bar=False,
    )
    forecast = NeuralForecast(models=[model], freq="D")
    forecast.fit(df=frame, val_size=12)
    print(forecast.predict().head())
