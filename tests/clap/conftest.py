"""What the tests of laion_clap need: its files, made by code, and a process.

laion_clap asks the model hub while it is imported, and the hub's client reads
``HF_HUB_OFFLINE`` only once. So whatever imports it runs in a process of its
own (laion_probe.py), over a cache of small files of the right names.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMIT = "0" * 40


def save_roberta(cache, tokenizer=True):
    """A hub cache (15 MB) that holds a RoBERTa of one layer; ``cache``."""
    from clap_toys import byte_tokenizer
    from transformers import RobertaConfig, RobertaModel

    folder = cache / "models--roberta-base"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    words = byte_tokenizer()
    if tokenizer:
        words.save_pretrained(snapshot)
    config = RobertaConfig(
        vocab_size=len(words),
        hidden_size=768,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=64,
        max_position_embeddings=80,
    )
    RobertaModel(config).save_pretrained(snapshot)
    return cache


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    """Runs a job of laion_probe.py; returns the JSON that it writes."""
    if importlib.util.find_spec("laion_clap") is None:
        pytest.skip("laion_clap is not installed: make test-clap")

    def run(job, cache, **environment):
        out = tmp_path_factory.mktemp("probe") / "out.json"
        folders = (".", "tests/unit", "tools")
        paths = [str(ROOT / folder) for folder in folders]
        done = subprocess.run(
            [sys.executable, str(HERE / "laion_probe.py"), job, str(out)],
            env={
                **os.environ,
                "HF_HUB_CACHE": str(cache),
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(paths),
                "TMPDIR": str(out.parent),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(out.read_text(encoding="utf-8"))

    return run


@pytest.fixture(scope="session")
def cache(tmp_path_factory, probe):
    """The hub's cache, as far as laion_clap needs it."""
    return save_roberta(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def deaf_cache(tmp_path_factory, probe):
    """The same without the tokenizer's files."""
    return save_roberta(tmp_path_factory.mktemp("deaf"), tokenizer=False)
