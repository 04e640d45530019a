"""Installation: ``pip install .``, or ``pip install -e ".[dev]"``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read(name):
    """Text of a file beside this one; empty if it is missing."""
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


VERSION = re.search(
    r'^__version__ = "(.+)"$', read("speechbrain_lmac/__init__.py"), re.M
).group(1)

setup(
    name="speechbrain_lmac",
    version=VERSION,
    description="Listenable explanations of sound classifiers: L-MAC on "
    "top of SpeechBrain",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="The speechbrain_lmac authors",
    license="Apache-2.0",
    packages=find_packages(include=["speechbrain_lmac", "speechbrain_lmac.*"]),
    package_data={
        "speechbrain_lmac.classifiers.families": ["*.csv"],
        "speechbrain_lmac.data.captions": ["*.csv"],
        "speechbrain_lmac.report": ["templates/*"],
        "speechbrain_lmac.evaluation.listening_test": ["static/*"],
    },
    entry_points={"console_scripts": ["lmac=speechbrain_lmac.cli:main"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        # torchaudio up to 2.11.0 works with the torch of its own version, and
        # 2.11.1 with 2.13 and later: none works with 2.12.
        "torch>=2.7.1,!=2.12.*",
        "torchaudio>=2.7.1",
        "speechbrain>=1.1,<2",
        "captum>=0.7",
        "huggingface-hub>=0.23",
        "hyperpyyaml>=1.2.2",
        "jinja2>=3.1",
        "ruamel.yaml>=0.17.28",
        "matplotlib>=3.7",
        "numpy>=1.23",
        "pandas>=2.1",
        "pillow>=9.4",
        "pyyaml>=5.1",
        "safetensors>=0.4",
        "scikit-learn>=1.3",
        "scipy>=1.15",
        "soundfile>=0.12.1",
        "tqdm>=4.42",
    ],
    extras_require={
        "app": ["gradio>=6.31"],
        "clap": ["transformers>=4.40"],
        # Apart from clap: it holds numpy below 2, so Python below 3.13.
        "laion": [
            "laion-clap>=1.1.6",
            "torchvision",
            "transformers>=4.40",
        ],
        "docs": ["myst-parser", "sphinx"],
        "tensorboard": ["tensorboard"],
        "dev": [
            "codespell",
            "gradio>=6.31",
            "hypothesis",
            "ipython",
            "mypy",
            "pandas-stubs",
            "playwright",
            "pytest>=7.4",
            "pytest-cov",
            "pytest-xdist",
            "quantus",
            "ruff",
            "scikit-image",
            "transformers>=4.40",
            "yamllint",
        ],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
