"""Read what is said in a video, from a trained model.

    python examples/transcribe_file.py talk.mp4 exp/avsr_train

The model is an experiment folder, a package from `espnet-vivit pack`, or what `espnet2.bin.pack` wrote. Files that show
nothing but a mouth, as those of mini_av, need `--detector centre`.
"""

import argparse
from pathlib import Path

from espnet_vivit.transcription.subtitles.formats import write_subtitles
from espnet_vivit.transcription.transcriber import Transcriber


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--detector", default="auto")
    options = parser.parse_args(argv)

    transcriber = Transcriber(options.model, detector=options.detector)  # loads once, reads any number of files
    result = transcriber.transcribe(options.video)

    print(f"{result.verdict}, confidence {result.confidence:.2f}: {result.text}")
    for word in result.words:
        print(f"{word.start_s:7.2f} {word.end_s:7.2f}  {word.text:15} {word.confidence:.2f}")
    for piece in result.unclear:
        print(f"{piece.start_s:7.2f} {piece.end_s:7.2f}  unclear: {'; '.join(piece.reasons)}")
    for path in write_subtitles(result, Path("."), ["srt", "json"], name=options.video.stem):
        print(path)


if __name__ == "__main__":
    main()
