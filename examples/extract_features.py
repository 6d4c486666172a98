"""A video in, one feature vector per video frame out, from a Video Vision Transformer, as a .npy file.

python examples/extract_features.py talk.mp4 features.npy
python examples/extract_features.py talk.mp4 features.npy --model_name vivit-ti-16x2 --random_weights   # no download
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.media.mouth_clip import read_mouth_clip

MOUTH_PIXELS = 96


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model_name", default="google/vivit-b-16x2-kinetics400")
    parser.add_argument("--random_weights", action="store_true", help="of the sizes that model_name has")
    parser.add_argument("--detector", default="auto", help="centre: the file shows nothing but a mouth")
    options = parser.parse_args(argv)

    encoder = vivit_encoder(
        options.model_name,
        pretrained=not options.random_weights,
        image_size=MOUTH_PIXELS,  # the position table is resized from 224
        frame_adjust="window",  # a step always describes the same 80 ms, however long the clip is
        feature_rate="frame",
    ).eval()
    clip = read_mouth_clip(options.video, detector=options.detector, size=MOUTH_PIXELS)
    with torch.no_grad():
        features, lengths = encoder(torch.from_numpy(clip.frames)[None], torch.tensor([len(clip.frames)]))
    np.save(options.out, features[0, : lengths[0]].numpy())
    print(f"{options.out}: {int(lengths[0])} steps of {features.size(2)} features, 25 per second")


if __name__ == "__main__":
    main()
