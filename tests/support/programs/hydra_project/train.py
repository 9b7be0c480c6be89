"""A training script of Hydra's kind: the whole of it is made from `conf`."""

import lightning as L
import torch
from hydra import main
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, lr: float, width: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


@main(version_base=None, config_path="conf", config_name="config")
def train(cfg: DictConfig) -> float:
    L.seed_everything(cfg.seed)
    x = torch.randn(64, 2)
    data = DataLoader(TensorDataset(x, x @ torch.tensor([[1.0], [-2.0]])), batch_size=cfg.data.batch_size)
    trainer = instantiate(cfg.trainer, logger=False)
    trainer.fit(instantiate(cfg.model), data, data)
    OmegaConf.save(cfg, f"{trainer.default_root_dir}/used.yaml")
    return trainer.callback_metrics["val_loss"].item()


if __name__ == "__main__":
    train()
