"""The corpus of this recipe: rendered from a seed, with both test sets once more under babble at 0 dB."""

from pathlib import Path

from espnet_vivit.corpora.mini_av.corpus import prepare
from espnet_vivit.data.noise import add_babble
from espnet_vivit.tasks.espnet3.builder import DataDirBuilder
from espnet_vivit.tasks.espnet3.dataset import DataDirDataset as Dataset

__all__ = ["Dataset", "DatasetBuilder"]


class DatasetBuilder(DataDirBuilder):
    """`create_dataset` of the training.yaml: how many clips, how large, from which seed."""

    def prepare(
        self,
        data_dir: Path,
        seed: int = 0,
        num_train: int = 1200,
        num_dev: int = 60,
        num_test_seen: int = 150,
        num_test_unseen: int = 100,
        size: int = 48,
        nj: int = 2,
    ) -> None:
        counts = {"num_train": num_train, "num_dev": num_dev}
        counts |= {"num_test_seen": num_test_seen, "num_test_unseen": num_test_unseen}
        sets = prepare(data_dir, seed=seed, size=size, nj=nj, **counts)
        for name in ("test_seen", "test_unseen"):
            noisy = f"{name}_babble_0db"
            add_babble(sets[name], sets["train"], data_dir / noisy, snr_db=0, wav_dir=data_dir / "clips" / noisy)
