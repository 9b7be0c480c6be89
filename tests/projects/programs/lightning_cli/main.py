"""A LightningCLI project: a module without configure_optimizers, whose optimizer is a section of the config."""

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, width: int = 8, inputs: int = 4):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def step(self, batch, name):
        loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, batch_index):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, batch_index):
        self.step(batch, "val_loss")

    def test_step(self, batch, batch_index):
        self.step(batch, "test_loss")


class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size, self.inputs = batch_size, 4

    def loader(self, count):
        x = torch.randn(count, self.inputs, generator=torch.Generator().manual_seed(count))
        return DataLoader(TensorDataset(x, x.sum(1, keepdim=True).tanh()), batch_size=self.batch_size)

    def train_dataloader(self):
        return self.loader(96)

    def val_dataloader(self):
        return self.loader(32)

    def test_dataloader(self):
        return self.loader(33)


class CLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.inputs", "model.inputs", apply_on="instantiate")


if __name__ == "__main__":
    CLI(Net, Data)
