"""A user's module on lightly's parts, in the shape of lightly's own examples."""

import pytorch_lightning as pl
import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms.simclr_transform import SimCLRTransform
from torch import nn
from torch.utils.data import DataLoader


class SimCLR(pl.LightningModule):
    def __init__(self, lr=0.06, temperature=0.5):
        super().__init__()
        self.save_hyperparameters()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = SimCLRProjectionHead(512, 128, 32)
        self.criterion = NTXentLoss(temperature=temperature)

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def step(self, batch, name):
        (first, second), _ = batch
        loss = self.criterion(self.forward(first), self.forward(second))
        self.log(name, loss, batch_size=len(first))
        return loss

    def training_step(self, batch, batch_index):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, batch_index):
        self.step(batch, "val_loss")

    def test_step(self, batch, batch_index):
        self.step(batch, "test_loss")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def loaders(batch_size=8):
    views = SimCLRTransform(input_size=32, gaussian_blur=0.0)

    def loader(size, shuffle=False):
        pictures = torchvision.datasets.FakeData(size, (3, 32, 32), transform=views)
        return DataLoader(pictures, batch_size=batch_size, shuffle=shuffle, drop_last=True)

    return {"train": loader(24, shuffle=True), "val": loader(8), "test": loader(8)}
