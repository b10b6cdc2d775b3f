"""`python -m samlite lab`: JupyterLab, opened on the first chapter."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bare_machine import ROOT

from samlite import lab


def test_lab_opens_the_first_chapter() -> None:
    assert (ROOT / lab.FIRST_CHAPTER).is_file()
    arguments = lab.jupyter_arguments(browser=False, port=9999)
    assert "--no-browser" in arguments and "--port=9999" in arguments
    assert "--no-browser" not in lab.jupyter_arguments()


def test_lab_serves_the_first_chapter(tmp_path: Path) -> None:
    """The real command, from start to shutdown, with settings of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    variables = {**os.environ, **{name: str(tmp_path / name) for name in folders}, "JUPYTER_TOKEN": "t"}
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "samlite", "lab", "--no-browser", f"--port={port}"]
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        said, deadline = None, time.monotonic() + 180
        while said is None and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.3)
            said = re.search(rf"(http://127\.0\.0\.1:\d+)/lab/tree/{lab.FIRST_CHAPTER}\?token=", log.read_text())
        assert said is not None, log.read_text()
        url = f"{said[1]}/api/contents/{lab.FIRST_CHAPTER}?content=0&token=t"
        with urllib.request.urlopen(url, timeout=60) as response:
            assert json.load(response)["path"] == lab.FIRST_CHAPTER
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
