"""All kinds of faults, in the order of the table in docs/faults.md."""

from tests.faults import configuration, media, processes, tables, weights
from tests.faults.campaign import Kind

KINDS: dict[str, Kind] = {
    "configuration: keys of conf/*.yaml": configuration.training_options,
    "configuration: options of a model's parts": configuration.model_options,
    "data directories": tables.data_directories,
    "tables of videos": tables.tables_of_videos,
    "token lists and YAML": tables.texts,
    "files of weights": weights.files_of_weights,
    "states of models": weights.states_of_models,
    "packages and their archives": weights.packages,
    "videos in seven containers": media.videos,
    "sounds in four formats": media.sounds,
    "clips as arrays": media.arrays,
    "full disks": processes.full_disk,
    "file descriptors": processes.few_descriptors,
    "writers killed": processes.kill,
}
