"""A script that fits a DataModule, as many do: positional, with a Namespace among the hyperparameters, then a test."""

import argparse

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, args, act):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, args.width), act, torch.nn.Linear(args.width, 1))

    def forward(self, x):
        return self.net(x)

    def step(self, batch, name):
        loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, index):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, index):
        self.step(batch, "val/loss")

    def test_step(self, batch, index):
        self.step(batch, "test/loss")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.args.lr)


class Data(L.LightningDataModule):
    def loader(self, count):
        x = torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
        return DataLoader(TensorDataset(x, x.sum(1, keepdim=True).tanh()), batch_size=8)

    def train_dataloader(self):
        return self.loader(32)

    def val_dataloader(self):
        return self.loader(16)

    def test_dataloader(self):
        return self.loader(17)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--loaders", action="store_true")
    args = parser.parse_args()
    print("a line that no table needs")
    L.seed_everything(0)
    data = Data()
    shown = [L.pytorch.callbacks.TQDMProgressBar(), L.pytorch.callbacks.ModelSummary(max_depth=2)]
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, callbacks=shown)
    if args.loaders:
        trainer.fit(Net(args, torch.nn.ReLU()), data.train_dataloader(), data.val_dataloader())
        trainer.test(dataloaders=data.test_dataloader(), weights_only=False)
    else:
        trainer.fit(Net(args, torch.nn.ReLU()), data)
