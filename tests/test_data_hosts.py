"""Data that each host of a cluster downloads and decodes once, however many trials begin there at the same time."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mnist_files import write_mnist
from tests.support.ray_hosts import ON_HOSTS, cluster, state, sweep, written

pytestmark = [*ON_HOSTS, pytest.mark.timeout(600)]

PORT = 8000
IMAGES: dict[str, Any] = {
    "seed": 5,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {
        "class_path": "orchestrator.models.LitClassifier",
        "init_args": {"encoder": {"class_path": "orchestrator.models.MLP"}},
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 8},
    "resources": {"cpus": 1},
}


@pytest.fixture
def net(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and two hosts with two CPUs each, whose /tmp is their own; the data is on the driver's host."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=2, cpus=2) as made:
        yield made


def test_each_host_fetches_each_file_once(net: Any) -> None:
    ray_hosts = importlib.import_module("ray_hosts")  # beside the module that has made the hosts

    (net.shared / "files").mkdir()
    write_mnist(net.shared / "files", train=400, test=20, suffix=".gz")
    log = net.shared / "served.log"
    net["driver"].popen([sys.executable, "-m", "tests.support.served_data", "/shared/files", str(PORT)], log=log)
    ray_hosts.wait_port(net["driver"], PORT)
    given = {"mirror": f"http://{net['driver'].ip}:{PORT}/", "data_dir": "/tmp/data"}
    data = {"class_path": "tests.support.served_data.ServedDataModule", "init_args": given}
    alone = f"from tests.support.served_data import ServedDataModule; ServedDataModule(**{given}).prepare_data()"
    net["head"].run([sys.executable, "-W", "ignore", "-c", alone])
    driver = sweep(net, "launch", written(net, "images", **IMAGES, data=data))
    assert driver.wait(300) == 0, (net.shared / "launch.log").read_text()
    ended = state(net, "images")
    assert {trial.status for trial in ended.trials.values()} == {"finished"}
    assert Counter(trial.node for trial in list(ended.trials.values())[:4]) == {"w1": 2, "w2": 2}
    asked = re.findall(r'^(\S+) .*"GET /(\S+) HTTP', log.read_text(), re.MULTILINE)

    def asked_by(host: str) -> Counter[str]:
        return Counter(name for address, name in asked if address == host)

    by_one_process = asked_by(net["head"].ip)
    assert len(by_one_process) == 4
    assert asked_by(net["w1"].ip) == asked_by(net["w2"].ip) == by_one_process
