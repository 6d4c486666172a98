"""Metadata of the package: what it is, what it needs, which extras there are. Tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read_version() -> str:
    """The version, read from the package without importing it: its dependencies may not be installed yet."""
    source = (HERE / "espnet_vivit" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE).group(1)


def read_description() -> str:
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


REQUIRED = [
    # ESPnet's release wants setuptools<74, torch 2.13 wants >=77: torch and torchaudio 2.11 are a pair that fits.
    "setuptools<74",
    "torch==2.11.0",
    "torchaudio==2.11.0",
    "espnet==202511",
    "transformers>=5.10,<6",
    "sentencepiece",
    "msgpack>=1",  # scenic's checkpoint files
    "numpy>=2,<3",
    "scipy>=1.11",
    "av>=14",  # video in and out: its wheels carry FFmpeg
    "soundfile>=0.12",  # audio in and out: torchaudio's own loader needs one more package
    "jiwer>=4,<5",
    "tensorboard>=2.14",  # ESPnet's trainer writes to these two by default, and does not ask for them
    "matplotlib>=3.8",
    "pillow>=10",  # contact sheets, subtitles in pictures
    "rich>=13",
    "tqdm>=4.60",
    "packaging>=22",
    "six",  # espnetez imports it, and ESPnet does not ask for it
]

EXTRAS = {
    "qlora": ["peft>=0.17", "bitsandbytes>=0.46"],  # 4-bit towers with LoRA on top
    "mini_av": ["espeakng-loader>=0.2.4"],  # the speech of the synthetic corpus; loads espeak-ng (GPL-3) at run time
    "faces": ["opencv-python-headless>=4.10,<5"],  # OpenCV 5 has no cascades in its wheel
    "export": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "page": ["gradio>=6,<7"],  # the local page to try a model on
    "cluster": ["dask[distributed]>=2024.8"],  # preparing a corpus on several machines
    # Playwright: the page's test drives a Chromium
    "test": ["pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "playwright>=1.40", "wheel"],
}
# The formatter's verdict changes between releases, so its version is fixed; .pre-commit-config.yaml names the same one.
USED_BY_TESTS = [need for name in ("mini_av", "qlora", "faces", "export", "page", "cluster") for need in EXTRAS[name]]
EXTRAS["dev"] = [*EXTRAS["test"], *USED_BY_TESTS, "ruff==0.17.5", "pyright>=1.1.380"]

setup(
    name="espnet-vivit",
    version=read_version(),
    description="Lip reading and audio-visual speech recognition for ESPnet with a Video Vision Transformer",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    author="The espnet_vivit authors",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    keywords=["speech recognition", "lip reading", "AV-ASR", "VSR", "ESPnet", "ViViT"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["espnet_vivit", "espnet_vivit.*"]),
    python_requires=">=3.10,<3.13",
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["espnet-vivit = espnet_vivit.bin.cli:main"]},
    zip_safe=False,
)
