"""A real browser and a real JupyterLab. Without Chromium these tests are skipped, except where CI is "true"."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
RUN = """async (ids) => { // the cells of these ids, one after the other as a reader runs them; without ids all
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const run = async () => {
    while (!window.jupyterapp?.shell.currentWidget?.sessionContext) await pause(50);
    const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
    await sessionContext.ready;
    while (!sessionContext.session?.kernel) await pause(50);
    await sessionContext.session.kernel.info; // "idle" comes too early
    if (!ids) await window.jupyterapp.commands.execute("notebook:run-all-cells");
    for (const id of ids ?? []) {
      content.activeCellIndex = content.widgets.findIndex((cell) => cell.model.id === id);
      await window.jupyterapp.commands.execute("notebook:run-cell");
    }
    return true;
  };
  if (!(await Promise.race([run(), pause(120000)]))) throw new Error("the notebook did not run within two minutes");
}"""
ASK = """async (expression) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const reply = await kernel.requestExecute({ code: "", user_expressions: { value: expression } }).done;
  return reply.content.user_expressions.value;
}"""


def _missing(what: str):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; with CI=true the browser tests must run")
    pytest.skip(f"{what}: the browser tests are skipped")


@pytest.fixture(scope="session")
def chromium() -> str:
    given = os.environ.get("SAMLITE_CHROMIUM")
    found = shutil.which(given) if given else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        _missing(f"there is no browser at SAMLITE_CHROMIUM={given}" if given else "no Chromium or Chrome was found")
    return found


@pytest.fixture(scope="session")
def browser(chromium):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("the Python package playwright is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def window(browser, chromium, tmp_path):
    """A browser with a profile of its own, and therefore with settings: its pages can be zoomed."""
    how = {"headless": False, "args": [*FLAGS, "--headless=new", "--window-size=1700,1400"], "no_viewport": True}
    window = browser.browser_type.launch_persistent_context(tmp_path, executable_path=chromium, **how)
    yield window
    window.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab of its own, without settings, token or news; (address, folder of its notebooks)."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    names = ("CONFIG", "RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")
    own = {f"JUPYTER{'_' * (not name.startswith('LAB'))}{name}_DIR": str(folder / name) for name in names}
    own["IPYTHONDIR"] = str(folder / "ipython")
    quiet = folder / "LAB_SETTINGS" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    # Without this a question about news lies over the page.
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    command += [f"--ServerApp.root_dir={notebooks}", "--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.extension_manager=readonly", "--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own, "PYTHONPATH": path}, stdout=log, stderr=log)
    try:
        _wait_for(f"{address}/api/status", server, folder / "lab.log")
        yield address, notebooks
    finally:
        server.terminate()  # stops its kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                json.load(reply)
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def show(browser, lab):
    """show(name, notebook, only=None, **how): JupyterLab with this notebook, run; only: the ids of the cells to run.

    ``how``: of the browser's context.
    """
    address, notebooks = lab
    contexts = []

    def show_it(name: str, notebook, only: list[str] | None = None, **how):
        import nbformat

        nbformat.write(notebook, notebooks / name)
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 1200}, **how})
        contexts.append(context)
        page = context.new_page()
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.problems = []
        page.on("pageerror", lambda problem: page.problems.append(str(problem)))
        page.goto(f"{address}/doc/tree/{name}")
        page.evaluate(RUN, only)
        page.wait_for_selector("#jupyterlab-splash", state="detached")  # it would catch the first clicks
        return page

    yield show_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def open_notebook(show):
    """open_notebook(name, *cells, **how): JupyterLab with a notebook of these cells, all run; how: of the context."""

    def open_it(name: str, *cells: str, **how):
        from nbformat.v4 import new_code_cell, new_notebook

        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        return show(name, new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel), **how)

    return open_it


@pytest.fixture(scope="session")
def python():
    """python(page, expression): its value in the kernel of the notebook on the page, as text."""

    def evaluate(page, expression: str) -> str:
        reply = page.evaluate(ASK, expression)
        assert reply["status"] == "ok", reply
        return reply["data"]["text/plain"]

    return evaluate


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where screenshots go: SAMLITE_SCREENSHOTS, or a temporary folder."""
    folder = Path(os.environ.get("SAMLITE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
