"""A video and a published checkpoint in, what is said in the video out.

    python examples/read_lips_with_a_published_model.py talk.mp4 vsr_trlrs3vox2_base.pth unigram5000_units.txt

The checkpoint and its tokens come from their publisher; docs/published_models.md says where, and under which terms.
"""

import argparse
import tempfile
from pathlib import Path

from espnet_vivit import Transcriber
from espnet_vivit.release.import_published import import_published


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokens", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        imported = import_published(options.checkpoint, Path(folder) / "exp", tokens=options.tokens)
        print(f"{imported.layout.title}; {imported.layout.terms.license}")
        print(Transcriber(imported.weights.parent).transcribe(options.video).text)


if __name__ == "__main__":
    main()
