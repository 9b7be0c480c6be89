"""A script that trains without Lightning and logs to W&B: a W&B sweep's parameters are in its config."""

import wandb

wandb.login()
run = wandb.init(project="elsewhere", config={"rate": 5.0, "epochs": 3})
assert run.name
for epoch in range(wandb.config.epochs):
    wandb.log({"epoch": epoch, "loss": wandb.config.rate + 1 / (epoch + 1), "note": "not a number"})
wandb.finish()
