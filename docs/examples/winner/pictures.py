"""Write the first eight validation images of a bundle's DataModule as .png files: pictures.py BUNDLE FOLDER."""

import sys
from pathlib import Path

import orchestrator
from orchestrator.training import class_loading
from orchestrator.training.prediction_logger import to_pictures

bundle, folder = orchestrator.load_bundle(sys.argv[1]), Path(sys.argv[2])
data = class_loading.build(bundle.config["data"])
data.setup("fit")
images, labels = next(iter(data.val_dataloader()))
folder.mkdir(exist_ok=True)
pictures = to_pictures(images[:8], mean=data.pixels.mean, std=data.pixels.std)
for number, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=False)):
    picture.save(folder / f"{number}-{bundle.classes[label].replace('/', '_')}.png")
