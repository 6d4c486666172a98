"""GRID for this recipe: data directories from mouth crops with a manifest, or from the original videos."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from espnet_vivit.bin.commands.prepare import main
from espnet_vivit.data.noise import add_babble
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.espnet3.builder import DataDirBuilder, scheduler_address
from espnet_vivit.tasks.espnet3.dataset import DataDirDataset as Dataset

__all__ = ["Dataset", "DatasetBuilder"]


class DatasetBuilder(DataDirBuilder):
    """`create_dataset` of the training.yaml: where the corpus is, and how its mouths are cut."""

    def prepare(
        self,
        data_dir: Path,
        grid_root: str | None = None,
        protocol: str = "overlapped",
        view: int = 64,
        size: int = 52,
        nj: int = 2,
        cluster: Mapping | None = None,
        babble_set: str = "test",
        babble_snr_db: tuple[float, ...] = (),
    ) -> None:
        if grid_root is None or not Path(grid_root).is_dir():
            raise ConfigError(
                "create_dataset.grid_root", found=grid_root, expected="the folder of the corpus", fix="Set GRID_ROOT"
            )
        with nullcontext() if cluster is None else scheduler_address(cluster) as address:
            words = ["grid", str(grid_root), str(data_dir), "--view", str(view), "--size", str(size), "--nj", str(nj)]
            words += ["--protocol", protocol]
            main(words if address is None else [*words, "--dask-scheduler", address])
        for snr_db in babble_snr_db:
            noisy = f"{babble_set}_babble_{snr_db:g}db"
            paths = (data_dir / babble_set, data_dir / "train", data_dir / noisy)
            add_babble(*paths, snr_db=snr_db, wav_dir=data_dir / "clips" / noisy)
