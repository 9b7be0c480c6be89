"""A script as people have it: argparse, seed_everything, a Trainer, and a print at the end."""

import argparse
import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self, args):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, args.hidden_size), torch.nn.Dropout(0.2), torch.nn.Linear(args.hidden_size, 1)
        )

    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val/loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.args.learning_rate)


class Kill(pl.Callback):
    """Ends the process as a power cut would, once."""

    def __init__(self, mark):
        self.mark = mark

    def on_train_epoch_start(self, trainer, pl_module):
        if self.mark and trainer.current_epoch == 2 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def loader(count, batch_size, shuffle):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
    return DataLoader(TensorDataset(x, (x.sum(1, keepdim=True) * 0.5).tanh()), batch_size=batch_size, shuffle=shuffle)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hidden_size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--kill", default="")
    parser.add_argument("--no_gpu", action="store_true")
    args = parser.parse_args()
    pl.seed_everything(0)
    best = pl.callbacks.ModelCheckpoint(dirpath="checkpoints", monitor="val/loss")
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[best, Kill(args.kill)],
        num_sanity_val_steps=0,
    )
    trainer.fit(Net(args), loader(96, 16, True), loader(32, 32, False))
    print("best", Path(best.best_model_path).is_file())
    kept = torch.load(best.best_model_path, weights_only=False)["hyper_parameters"]["args"]
    assert kept.hidden_size == args.hidden_size


if __name__ == "__main__":
    main()
