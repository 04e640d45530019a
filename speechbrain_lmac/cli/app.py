"""``lmac app``: a page in the browser that listens and explains."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    answer,
    option,
    path,
    whole_number,
)
from speechbrain_lmac.cli.sources import (
    DEVICE,
    HELP,
    add_source,
    load_audio_interpreter,
)

EXAMPLES = """\
  lmac app --interpreter results/lmac_small/1234
  lmac app --model MIT/ast-finetuned-audioset-10-10-0.4593 --port 8000
  lmac app --interpreter results/lmac_small/1234 --export space

The page is for this computer alone, unless --host says otherwise. It needs no
network, and keeps a sound in memory as long as its tab is open. --export
writes a folder that can be pushed to a Hugging Face Space.
"""
CARD = """\
---
title: Why did it say that?
sdk: gradio
sdk_version: {version}
app_file: app.py
license: apache-2.0
---

Give it a sound, and hear what made a classifier decide. Made by `lmac app
--export` of speechbrain_lmac; `package/` is the interpreter.
"""
SCRIPT = """\
\"\"\"A Space that listens and explains.\"\"\"

import sys

from speechbrain_lmac.cli import main

sys.exit(main(["app", "--interpreter", "package", "--host", "0.0.0.0"]))
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    summary = "listen and explain on a page in the browser"
    parser = add_command(commands, "app", summary, EXAMPLES, run)
    add_source(parser, HELP)
    how = "what makes the mask, as of lmac explain"
    option(parser, "--method", str, how, metavar="METHOD")
    option(parser, "--device", str, DEVICE, default="cpu")
    for name, kind, metavar, default, what in (
        ("host", str, "ADDRESS", "127.0.0.1", "who may come: 0.0.0.0 is all"),
        ("port", whole_number, "N", None, "the first free one from 7860 on"),
        ("max-minutes", float, "N", 10.0, "longer sounds are refused"),
        ("max-mb", whole_number, "N", 100, "larger files are refused"),
    ):
        text = what if default is None else f"{what} (default: {default})"
        more = {"default": default, "metavar": metavar}
        option(parser, f"--{name}", kind, text, **more)
    where = "write a folder for a Hugging Face Space, and start nothing"
    option(parser, "--export", path, where)


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted, or export it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    _check_gradio()
    interpreter = load_audio_interpreter(args)
    if args.export is not None:
        folder = export(interpreter, args.export)
        answer(args, f"push {folder} to a Space", folder=folder)
        return EXIT_DONE
    with tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page, address = serve(
            interpreter, args.host, args.port, args.max_minutes, args.max_mb
        )
        answer(args, f"open {address} (Ctrl-C ends it)", address=address)
        page.block_thread()
    return EXIT_DONE


def _check_gradio() -> None:
    from speechbrain_lmac.utils.checks import UserError

    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            "The page needs gradio: pip install 'speechbrain_lmac[app]'."
        ) from error


def serve(
    interpreter: Any,
    host: str = "127.0.0.1",
    port: int | None = None,
    max_minutes: float = 10.0,
    max_mb: int = 100,
) -> tuple[Any, str]:
    """Start the page; returns it (``close()`` ends it) and its address."""
    from speechbrain_lmac.cli.app_page import Listening, build_page
    from speechbrain_lmac.report.render import TEMPLATES

    page = build_page(Listening(interpreter, max_minutes))
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        max_file_size=max_mb * 10**6,
        css=(TEMPLATES / "app.css").read_text(encoding="utf-8"),
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        enable_monitoring=False,
        share=False,
        ssr_mode=False,
    )
    return page, address


def export(interpreter: Any, folder: Path) -> Path:
    """Write what a Space needs: this package, too, which is on no index."""
    import gradio

    import speechbrain_lmac
    from speechbrain_lmac.inference import write_package
    from speechbrain_lmac.utils.checks import UserError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"`export`: {folder} exists; give a new folder.")
    write_package(interpreter.interpreter, folder / "package")
    source = Path(speechbrain_lmac.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, folder / source.name, ignore=ignored)
    needed = metadata.requires(source.name) or []
    # transformers, of the extra clap, comes with many models.
    lines = [
        line.split(";")[0].strip()
        for line in needed
        if "extra ==" not in line or re.search("extra == .clap", line)
    ]
    for name, text in (
        ("requirements.txt", "\n".join(lines) + "\n"),
        ("README.md", CARD.format(version=gradio.__version__)),
        ("app.py", SCRIPT),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return folder
