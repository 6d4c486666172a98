"""The stage create_dataset runs a corpus's own function once for the same options."""

import math

import pytest

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from omegaconf import OmegaConf

from espnet_vivit.corpora.preparing.jobs import run_jobs
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.espnet3.builder import DataDirBuilder, scheduler_address


class Corpus(DataDirBuilder):
    made = ()

    def prepare(self, data_dir, clips=3, cluster=None):
        self.made = (*self.made, (data_dir.name, clips, cluster))
        data_dir.mkdir(exist_ok=True)


def section(tmp_path, **options):
    """As ESPnet3 hands it over: with what its template has, and OmegaConf's sections."""
    template = {"func": "src.create", "dataset_dir": "/path/to", "recipe_dir": "."}
    return dict(OmegaConf.create({**template, "data_dir": str(tmp_path / "data"), **options}))


def test_the_same_options_are_prepared_once_and_others_again(tmp_path):
    corpus = Corpus()
    for options in ({}, {}, {"clips": 5}, {"clips": 5, "cluster": {"env": "slurm", "n": [1]}}):
        assert corpus.is_source_prepared(**section(tmp_path, **options))
        if not corpus.is_built(**section(tmp_path, **options)):
            corpus.build(**section(tmp_path, **options))
    assert corpus.made == (("data", 3, None), ("data", 5, None), ("data", 5, {"env": "slurm", "n": [1]}))


def test_what_failed_is_not_taken_for_prepared(tmp_path):
    class Failing(Corpus):
        def prepare(self, data_dir, clips=3):
            super().prepare(data_dir)
            raise OSError("disk full")

    with pytest.raises(OSError):
        Failing().build(**section(tmp_path))
    assert not Failing().is_built(**section(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"), [({"clisp": 5}, "Did you mean 'clips'"), ({"data_dir": None}, "has no data_dir")]
)
def test_an_option_that_the_corpus_lacks_is_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        Corpus().build(**section(tmp_path, **options))


def test_espnet3s_cluster_does_the_jobs_of_prepare():
    """`prepare --dask-scheduler` and ESPnet3's section `parallel` are one cluster; it is gone afterwards."""
    pytest.importorskip("dask_jobqueue", reason="ESPnet3's layer needs dask-jobqueue: pip install 'espnet[train]'")
    section = {"env": "local", "n_workers": 1, "options": {"dashboard_address": None, "processes": False}}
    with scheduler_address(section) as address:
        results = dict(run_jobs(math.factorial, range(5), nj=1, lost=lambda job, why: None, dask_scheduler=address))
    assert results == {number: math.factorial(number) for number in range(5)}
