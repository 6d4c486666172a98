"""Averages of the n best epochs, each from the files: ESPnet's own adds them up in weights that it uses again."""

from collections.abc import Iterator
from contextlib import contextmanager

from espnet_vivit.espnet_compat.names import espnet_module

_TRAINER = "espnet2.train.trainer"


@contextmanager
def separate_averages() -> Iterator[None]:
    """Inside the block, ESPnet's trainer averages the n best epochs of each criterion from their files.

    Its own function adds up in the weights that it has loaded, and takes these for an epoch's at the next criterion or
    count: of four criteria, three averages are wrong. With fewer epochs than n, ours averages those there are; its own
    takes the best one alone.
    """
    module = espnet_module(_TRAINER)
    original = module.average_nbest_models

    def average(*, reporter, best_model_criterion, nbest, **options) -> None:
        for criterion in best_model_criterion:
            if reporter.has(*criterion[:2]):
                epochs = len(reporter.sort_epochs_and_values(*criterion))
                for count in sorted({min(count, epochs) for count in ([nbest] if isinstance(nbest, int) else nbest)}):
                    original(reporter=reporter, best_model_criterion=[criterion], nbest=count, **options)

    module.average_nbest_models = average
    try:
        yield
    finally:
        module.average_nbest_models = original
