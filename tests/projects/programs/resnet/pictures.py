"""A user's module around any network, and loaders of pictures."""

import lightning as L
import torch
import torchvision
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self, net, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.lr = net, lr

    def forward(self, x):
        return self.net(x)

    def step(self, batch, name):
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, batch_index):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, batch_index):
        self.step(batch, "val_loss")

    def test_step(self, batch, batch_index):
        self.step(batch, "test_loss")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def loaders(batch_size=8):
    def loader(size, shuffle=False):
        pictures = torchvision.datasets.FakeData(size, (3, 32, 32), transform=torchvision.transforms.ToTensor())
        return DataLoader(pictures, batch_size=batch_size, shuffle=shuffle)

    return {"train": loader(24, shuffle=True), "val": loader(8), "test": loader(8)}
