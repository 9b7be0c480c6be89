"""As in scvi-tools' own quickstart: an AnnData, a model, train."""

import scvi


def main(n_latent=10, n_layers=1, lr=1e-3, max_epochs=3):
    data = scvi.data.synthetic_iid()
    scvi.model.SCVI.setup_anndata(data, batch_key="batch")
    model = scvi.model.SCVI(data, n_latent=n_latent, n_layers=n_layers)
    model.train(max_epochs=max_epochs, check_val_every_n_epoch=1, plan_kwargs={"lr": lr})
    print(model.get_elbo())
