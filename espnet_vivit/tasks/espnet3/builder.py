"""ESPnet3's stage create_dataset for a corpus that a function of ours prepares into data directories.

In: the section `create_dataset` of a training.yaml. Out: data directories under its `data_dir`, and a note beside them
of the options that they were made with; the stage does nothing where the note says the same.

`create_dataset: {cluster: {env: slurm, n_workers: 16, options: {…}}}` prepares on a cluster that ESPnet3's parallel
layer starts, for corpora that take that long (`scheduler_address`).
"""

import inspect
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.tasks.espnet3.names import DatasetBuilder, get_client

NOTE = "created_with.json"
_OF_TEMPLATE = ("func", "dataset_dir", "recipe_dir")  # stand in the section because ESPnet's own defaults have them


class DataDirBuilder(DatasetBuilder):
    """A corpus says in `prepare` how it is made; its signature is what `create_dataset` may hold."""

    @abstractmethod
    def prepare(self, data_dir: Path) -> None:
        """Write the data directories under `data_dir`; a subclass adds the options of its corpus, with defaults."""

    def is_source_prepared(self, **section: Any) -> bool:
        """Always: getting a corpus and preparing it are one call here, which goes on where it was stopped."""
        return True

    def prepare_source(self, **section: Any) -> None:
        """Nothing: see is_source_prepared."""

    def is_built(self, **section: Any) -> bool:
        """Whether the note says that the data directories were made with these options."""
        options = self._options(section)
        note = Path(options["data_dir"]) / NOTE
        return note.is_file() and json.loads(note.read_text(encoding="utf-8")) == options

    def build(self, **section: Any) -> None:
        """Prepare the corpus and leave the note."""
        options = self._options(section)
        data_dir = Path(options["data_dir"])
        self.prepare(**{**options, "data_dir": data_dir})
        write_whole(data_dir / NOTE, json.dumps(options, indent=1) + "\n")

    def _options(self, section: dict[str, Any]) -> dict[str, Any]:
        """The options of `prepare`, as JSON holds them. Raises ConfigError for one that it does not have."""
        known = list(inspect.signature(self.prepare).parameters)
        options = {name: value for name, value in section.items() if name not in _OF_TEMPLATE}
        for name in options:
            if name not in known:
                raise unknown_name("option in create_dataset", name, known)
        if options.get("data_dir") is None:
            raise ConfigError("create_dataset has no data_dir", fix="Say create_dataset: {data_dir: ${data_dir}}")
        return json.loads(json.dumps(options, default=OmegaConf.to_container))  # of sections and lists in it


@contextmanager
def scheduler_address(cluster: Mapping) -> Iterator[str]:
    """The address of a Dask scheduler with at least one worker, for `espnet-vivit prepare --dask-scheduler`.

    cluster: `env`, `n_workers` and `options`, as in the section `parallel` of ESPnet3's YAML files.
    """
    with get_client(OmegaConf.create(dict(cluster))) as client:
        client.wait_for_workers(1)  # a queue may let them wait
        yield client.scheduler.address
