#!/usr/bin/env bash
# From a sweep file to a model in use: launch, confirm, test, export, predict, replay.
#   docs/examples/winner/winner.sh quickstart                 a few minutes on two cores
#   docs/examples/winner/winner.sh cifar10 --set trainer.max_epochs=3 --set budget.trials=4 --set data.init_args.data_dir=…
# TRIALS is how many trainings the finals may take. It writes to ./runs (or $SWEEP_RUNS), ./bundle and ./pictures.
set -eu
spec=$1
shift
name=$spec-winner

sweep launch "$spec" --name "$name" "$@"             # search
sweep confirm "$name" --trials "${TRIALS:-15}"       # train the best again, under fresh seeds: mean, interval, how sure
sweep test "$name"                                   # one look at the test set, on record
sweep export "$name" --to bundle                     # checkpoint, safetensors, ONNX, .pt2, model card: all verified
python "$(dirname "$0")/pictures.py" bundle pictures # eight validation images as .png files
sweep predict bundle pictures --grid answers.png     # by ONNX Runtime, without torch
sweep replay bundle                                  # train it again from the bundle alone: identical?
