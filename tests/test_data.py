"""The data modules: what they give, in which order, and what they do with absent, damaged or shared files."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST

from orchestrator.data import CIFAR10DataModule, DigitsDataModule, FashionMNISTDataModule, MNISTDataModule, image_cache
from orchestrator.data.batch_loader import BatchLoader, BatchOrder, Pixels
from orchestrator.data.cifar10 import FILES
from orchestrator.data.image_datamodule import ImageDataModule, stratified
from orchestrator.data.mnist import read_idx
from orchestrator.errors import DataError
from orchestrator.models import LitModel
from tests.support.mnist_files import write_idx, write_mnist

NOWHERE = "http://127.0.0.1:9/"  # the discard port: refused at once


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(shared / "data" / "unpack_cifar10.py"), str(folder)], check=True)
    return folder


def labels_of(loader: BatchLoader) -> Tensor:
    return torch.cat([labels for _, labels in loader])


def rows_of(loader: BatchLoader) -> list[int]:
    return [int(row) for batch in loader.order for row in batch]


# --- order -------------------------------------------------------------------------------------------------------


def test_every_row_comes_once_an_epoch_and_the_last_batch_is_kept() -> None:
    order = BatchOrder(torch.arange(100, 137), batch_size=16, seed=5)
    batches = list(order)
    assert [len(batch) for batch in batches] == [16, 16, 5]
    assert len(order) == 3
    assert sorted(torch.cat(batches).tolist()) == list(range(100, 137))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        order = BatchOrder(torch.arange(50), batch_size=7, seed=seed)
        order.set_epoch(number)
        return torch.cat(list(order)).tolist()

    torch.manual_seed(1)
    first = epoch(0, 3)
    torch.manual_seed(2)
    assert epoch(0, 3) == first
    assert len({tuple(epoch(seed, number)) for seed in (0, 1) for number in range(3)}) == 6


def test_iterating_draws_nothing_from_the_global_state() -> None:
    data = DigitsDataModule(seed=0)
    loader = data.train_dataloader()
    before = torch.get_rng_state()
    next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, None])
def test_ranks_share_the_rows(monkeypatch: pytest.MonkeyPatch, seed: int | None) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    seen = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        order = BatchOrder(torch.arange(31), batch_size=4, seed=seed)
        seen.append(torch.cat(list(order)).tolist())
        assert len(order) == 3
    together = sorted(row for rows in seen for row in rows)
    assert set(together) == set(range(31))
    if seed is None:
        assert together == list(range(31))  # validation: every image once
    else:
        assert {len(rows) for rows in seen} == {11}  # training: as many steps on each rank


def test_the_base_seed_is_the_argument_else_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    L.seed_everything(11, verbose=False)
    by_lightning = rows_of(DigitsDataModule().train_dataloader())
    assert by_lightning == rows_of(DigitsDataModule(seed=11).train_dataloader())
    assert by_lightning != rows_of(DigitsDataModule(seed=12).train_dataloader())
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(12)
    assert rows_of(DigitsDataModule(seed=12).train_dataloader()) == rows_of(DigitsDataModule().train_dataloader())


class Rows(L.Callback):
    """Notes the labels of every training batch, by epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen.setdefault(trainer.current_epoch, []).extend(batch[1].tolist())


def fit(folder: Path, epochs: int, ckpt_path: str | None = None) -> tuple[dict[int, list[int]], L.Trainer]:
    rows = Rows()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_train_batches=4,
        limit_val_batches=1,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[rows],
    )
    data = DigitsDataModule(batch_size=8, image_size=16, channels=1, seed=3)
    trainer.fit(LitModel((1, 16, 16)), data, ckpt_path=ckpt_path)
    return rows.seen, trainer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_epoch_is_what_it_would_have_been(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "whole", 3)
    _, stopped = fit(tmp_path / "first", 2)
    rest, _ = fit(tmp_path / "rest", 3, stopped.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    assert len(set(map(tuple, whole.values()))) == 3
    assert rest == {2: whole[2]}


@pytest.mark.parametrize("batch_size", [16, 8], ids=["the same batches", "smaller ones"])
@pytest.mark.parametrize("read", range(4))
def test_a_loader_continues_by_its_state_within_an_epoch(read: int, batch_size: int) -> None:
    """As the rest of the epoch would have been, and the next one whole."""
    images, labels = torch.arange(37 * 3, dtype=torch.uint8).view(37, 1, 1, 3), torch.arange(37)

    def loader(size: int) -> BatchLoader:
        return BatchLoader(
            images, labels, order=BatchOrder(labels, batch_size=size, seed=5), pixels=Pixels((0.5,), (0.5,))
        )

    first, second = loader(16), loader(batch_size)
    iterator = iter(first)
    seen = [next(iterator)[1] for _ in range(read)]
    second.load_state_dict(first.state_dict())
    rest = [labels for _, labels in second]
    assert torch.equal(torch.cat([*seen, *rest]), labels_of(loader(16)))
    assert torch.equal(labels_of(second), labels_of(loader(batch_size)))
    assert second.state_dict()["batches"] == 0


def test_overfitting_sees_the_same_batches_in_every_epoch(tmp_path: Path) -> None:
    rows = Rows()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=2, overfit_batches=2, callbacks=[rows], **quiet)
    trainer.fit(LitModel((1, 16, 16)), DigitsDataModule(batch_size=8, image_size=16, channels=1))
    assert rows.seen[0] == rows.seen[1]


# --- pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
)
def test_normalising_is_torchvisions(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    images = torch.randint(256, (5, 8, 8, 3), dtype=torch.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([reference(image.numpy()) for image in images])
    ours = Pixels(mean=mean, std=std).normalise(images)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert ours.dtype == torch.float32
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_augmented_images_are_crops_and_mirrors_of_their_own() -> None:
    images = torch.randint(1, 256, (40, 6, 5, 3), dtype=torch.uint8)
    pixels = Pixels(mean=(0,) * 3, std=(1,) * 3, crop_padding=2, flip=True)
    out = pixels.augment(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    mirrored = []
    for before, after in zip(images, out, strict=True):
        padded = torch.nn.functional.pad(before, (0, 0, 2, 2, 2, 2))
        crops = {
            (flip, top, left): (crop.flip(1) if flip else crop)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            for crop in [padded[top : top + 6, left : left + 5]]
        }
        found = [place for place, crop in crops.items() if torch.equal(crop, after)]
        assert found
        mirrored.append(found[0])
    assert len(set(mirrored)) > 15
    assert 8 < sum(flip for flip, _, _ in mirrored) < 32


def test_augmentation_is_drawn_by_seed_epoch_and_batch() -> None:
    images, labels = torch.randint(256, (30, 8, 8, 3), dtype=torch.uint8), torch.arange(30)

    def epoch(number: int, batch_size: int = 10) -> list[Tensor]:
        order = BatchOrder(torch.arange(30), batch_size=batch_size, seed=1)
        order.set_epoch(number)
        pixels = Pixels(mean=(0.5,) * 3, std=(0.5,) * 3, crop_padding=2, flip=True)
        return [batch for batch, _ in BatchLoader(images, labels, order=order, pixels=pixels)]

    torch.manual_seed(1)
    first = epoch(4)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(4), strict=True))
    assert not torch.equal(first[0], epoch(5)[0])


# --- cache -------------------------------------------------------------------------------------------------------


def counting(calls: Path) -> image_cache.Arrays:
    with calls.open("a") as file:
        file.write("decoded\n")
    images = np.arange(60 * 4 * 4 * 3, dtype=np.uint8).reshape(60, 4, 4, 3)
    return images, np.arange(60, dtype=np.int64)


def open_it(folder: Path, source: str = "a") -> image_cache.Images:
    decode = partial(counting, folder / "calls")
    return image_cache.open_or_build("set", data_dir=folder, source={"from": source}, decode=decode)


BUILDER = """
import importlib.util, pathlib, sys, time
import numpy as np
spec = importlib.util.spec_from_file_location("cache", sys.argv[1])  # without the package, which imports torch
cache = sys.modules["cache"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cache)
folder = pathlib.Path(sys.argv[2])
def decode():
    with (folder / "calls").open("a") as file:
        file.write("decoded\\n")
    time.sleep(0.3)
    return np.ones((60, 4, 4, 3), np.uint8), np.arange(60)
images = cache.open_or_build("set", data_dir=folder, source={}, decode=decode)
print(images.images.sum(), images.labels.sum())
"""


@pytest.mark.slow
def test_several_processes_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(image_cache.__file__), str(tmp_path)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [builder.communicate()[0].split() for builder in builders] == [["2880", "1770"]] * 6
    assert (tmp_path / "calls").read_text() == "decoded\n"


def test_what_is_cached_is_what_was_decoded(tmp_path: Path) -> None:
    expected, labels = counting(tmp_path / "calls")
    for _ in range(2):
        found = open_it(tmp_path)
        assert np.array_equal(found.images, expected)
        assert np.array_equal(found.labels, labels)
        assert isinstance(found.images, np.memmap)
    about = json.loads((tmp_path / image_cache.FOLDER / "set" / "cache.json").read_text())
    assert about["files"]["images"]["shape"] == [60, 4, 4, 3]
    assert len(about["files"]["images"]["sha256"]) == 64


def cut(entry: Path) -> None:
    with (entry / "images.npy").open("r+b") as file:
        file.truncate(1000)


def reshape(entry: Path) -> None:
    path = entry / "images.npy"
    path.write_bytes(path.read_bytes().replace(b"(60, 4, 4, 3)", b"(60, 4, 3, 4)"))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        reshape,
        lambda entry: (entry / "labels.npy").unlink(),
        lambda entry: (entry / "cache.json").write_text("{"),
        lambda entry: (entry / "cache.json").write_text("[]"),
    ],
)
def test_a_damaged_entry_is_built_again_with_a_notice(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    expected = open_it(tmp_path).images.copy()
    damage(tmp_path / image_cache.FOLDER / "set")
    assert np.array_equal(open_it(tmp_path).images, expected)
    assert "building it again" in caplog.text
    assert (tmp_path / "calls").read_text() == "decoded\n" * 2


def test_another_source_is_decoded_anew(tmp_path: Path) -> None:
    open_it(tmp_path, "a")
    open_it(tmp_path, "b")
    assert (tmp_path / "calls").read_text() == "decoded\n" * 2


def test_a_half_built_entry_is_not_found(tmp_path: Path) -> None:
    def fails() -> image_cache.Arrays:
        raise DataError("no")

    with pytest.raises(DataError):
        image_cache.open_or_build("set", data_dir=tmp_path, source={}, decode=fails)
    part = tmp_path / image_cache.FOLDER / "set.part"
    part.mkdir()
    (part / "images.npy").write_bytes(b"half")
    assert len(open_it(tmp_path).labels) == 60


def test_where_data_dir_cannot_be_written_the_users_cache_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    (tmp_path / image_cache.FOLDER).write_text("a file where the folder should be")
    for _ in range(2):
        assert len(open_it(tmp_path).labels) == 60
    assert (tmp_path / "calls").read_text() == "decoded\n"
    assert list(home.glob("sweep-orchestrator/*/set/cache.json"))


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with image_cache.locked(tmp_path / "x.lock"):
            order.append("second")

    with image_cache.locked(tmp_path / "x.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# --- the data sets -----------------------------------------------------------------------------------------------


def sealed(data: ImageDataModule, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read, parts = data.read, list[str]()

    def note(part: Any) -> Any:
        parts.append(part)
        return read(part)

    monkeypatch.setattr(data, "read", note)
    return parts


def test_digits_are_split_in_proportion() -> None:
    data = DigitsDataModule()
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    counts = [labels_of(loader).bincount() for loader in loaders]
    assert [int(count.sum()) for count in counts] == [1257, 270, 270]
    assert all(int(count.max() - count.min()) <= 0.06 * count.sum() / 10 + 2 for count in counts)
    images, _ = next(iter(loaders[0]))
    assert images.shape[1:] == data.dims == (3, 32, 32)
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)


def test_digits_parts_hold_every_image_once() -> None:
    data = DigitsDataModule(image_size=8, channels=1)
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    ours = torch.cat([images for loader in loaders for images, _ in loader]).flatten(1)
    from sklearn.datasets import load_digits

    theirs = torch.from_numpy(load_digits().data) * (255 / 16)
    theirs = (theirs.round() / 127.5 - 1).float()
    assert sorted(map(tuple, ours.round(decimals=4).tolist())) == sorted(map(tuple, theirs.round(decimals=4).tolist()))


def test_the_split_is_the_same_for_all_trials() -> None:
    splits = [labels_of(DigitsDataModule(seed=seed).val_dataloader()) for seed in (0, 1)]
    assert torch.equal(*splits)
    assert not torch.equal(splits[0], labels_of(DigitsDataModule(split_seed=1).val_dataloader()))


@pytest.mark.parametrize("sizes", [{"val_size": 0}, {"val_size": 1000, "test_size": 797}, {"test_size": 0}])
def test_digits_refuse_sizes_that_leave_nothing(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must hold, but got val_size="):
        DigitsDataModule(**sizes).setup("fit")


def test_stratified_runs_hold_every_class_in_proportion() -> None:
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    rows = stratified(labels, seed=0)
    assert sorted(rows.tolist()) == list(range(100))
    assert labels[rows[:20]].bincount().tolist() == [14, 4, 2]


def test_fitting_reads_no_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DigitsDataModule()
    parts = sealed(data, monkeypatch)
    for stage in ("fit", "validate", "predict"):
        data.setup(stage)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()):
            next(iter(loader))
    assert set(parts) == {"fit"}
    data.setup("test")
    assert set(parts) == {"fit", "test"}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
def test_mnist_files_are_found_plain_and_packed(tmp_path: Path, suffix: str, folder: str) -> None:
    write_mnist(tmp_path / folder, suffix=suffix)
    data = MNISTDataModule(str(tmp_path), batch_size=16, val_size=10, download=False)
    data.prepare_data()
    data.setup()
    train, val, test = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(labels_of(loader)) for loader in (train, val, test)] == [40, 10, 20]
    assert sorted(rows_of(train) + rows_of(val)) == list(range(50))
    expected = transforms.ToTensor()(read_idx(tmp_path / folder / f"t10k-images-idx3-ubyte{suffix}")[3].copy())
    images, _ = next(iter(test))
    torch.testing.assert_close(images[3], expected, rtol=0, atol=1e-6)


def test_replaced_mnist_files_are_decoded_anew(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    MNISTDataModule(str(tmp_path), val_size=10).setup()
    write_mnist(tmp_path, train=60)
    assert len(labels_of(MNISTDataModule(str(tmp_path), val_size=10).train_dataloader())) == 50


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x0d\x01\0\0\0\x01abcd"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_no_idx_file_is_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        read_idx(path)
    path.with_suffix(".gz").write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path.with_suffix(".gz"))


def test_mnist_labels_and_shapes_are_checked(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(50, 10))
    with pytest.raises(DataError, match="labels that are not in 0"):
        MNISTDataModule(str(tmp_path), val_size=10).setup("fit")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(49))
    with pytest.raises(DataError, match=r"\(50, 28, 28\) and \(49,\)"):
        MNISTDataModule(str(tmp_path), val_size=10).setup("fit")


def test_mnist_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [NOWHERE])
    with pytest.raises(DataError) as failed:
        MNISTDataModule(str(tmp_path)).prepare_data()
    assert "could not be downloaded" in failed.value.message
    assert "train-images-idx3-ubyte.gz" in failed.value.hint
    assert str(tmp_path) in failed.value.hint
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        MNISTDataModule(str(tmp_path), download=False).prepare_data()


@pytest.mark.slow
def test_fashion_mnist_has_names_and_serves_real_files(tmp_path: Path) -> None:
    folder = FashionMNISTDataModule.system_folders[0]
    if not folder.is_dir():
        pytest.skip(f"needs Debian's package dataset-fashion-mnist, which installs {folder}")
    data = FashionMNISTDataModule(str(tmp_path), batch_size=512, download=False)
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(labels_of(loader)) for loader in loaders] == [55_000, 5_000, 10_000]
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("val_size", [0, 50, 51])
def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path, val_size: int) -> None:
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=f"0 < val_size < 50` must hold, but got val_size={val_size}"):
        MNISTDataModule(str(tmp_path), val_size=val_size).train_dataloader()


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="`batch_size >= 1` must hold, but got batch_size=0"):
        DigitsDataModule(batch_size=0)


def test_cifar10_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "url", NOWHERE)
    (tmp_path / CIFAR10.base_folder).mkdir()
    (tmp_path / CIFAR10.base_folder / "data_batch_1").write_bytes(b"damaged")
    for download in (True, False):
        with pytest.raises(DataError) as failed:
            CIFAR10DataModule(str(tmp_path), download=download).prepare_data()
        assert "data_batch_1 damaged, data_batch_2 missing" in failed.value.message
        assert ("could not be downloaded" in failed.value.message) == download
        for part in (CIFAR10.filename, CIFAR10.tgz_md5, str(tmp_path), *FILES):
            assert part in failed.value.hint


@pytest.mark.slow
def test_cifar10_is_the_official_data_set(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = CIFAR10DataModule(str(cifar), batch_size=500, seed=0)
    parts = sealed(data, monkeypatch)
    data.prepare_data()
    data.setup("fit")
    train, val = data.train_dataloader(), data.val_dataloader()
    assert sorted(rows_of(train) + rows_of(val)) == list(range(50_000))
    assert [len(train.order.rows), len(val.order.rows)] == [45_000, 5_000]
    assert set(parts) == {"fit"}
    assert not (cifar / image_cache.FOLDER / "cifar10-test").exists()
    data.setup("test")
    assert len(labels_of(data.test_dataloader())) == 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dtype")  # NumPy's notice about the official pickles
def test_cifar10_batches_are_the_tutorials(cifar: Path) -> None:
    tutorial = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    official = CIFAR10(cifar, train=True, transform=tutorial)
    generator = torch.Generator().manual_seed(0)
    _, theirs = torch.utils.data.random_split(official, [45_000, 5_000], generator=generator)
    data = CIFAR10DataModule(str(cifar), batch_size=32)
    images, labels = next(iter(data.val_dataloader()))
    expected, expected_labels = zip(*[theirs[i] for i in range(32)], strict=True)
    torch.testing.assert_close(images, torch.stack(expected), rtol=0, atol=1e-6)
    assert labels.tolist() == list(expected_labels)
    assert tuple(official.classes) == data.class_names


@pytest.mark.slow
def test_cifar10_trains_without_a_warning(cifar: Path, tmp_path: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(LitModel(), CIFAR10DataModule(str(cifar), batch_size=8, augment=True))
    assert "val_acc" in trainer.callback_metrics
