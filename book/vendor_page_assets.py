"""Fetch the page assets of `book/_static/vendor` from npm, compare them with the digests below, and put them there.

Needed only to move to another version: the files are committed. Needs `npm` on the path and a network.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parent / "_static" / "vendor"
# npm package → {file in the package: (place under VENDOR, SHA-256)}
ASSETS = {
    "mathjax@3.2.2": {
        "es5/tex-svg-full.js": (
            "mathjax/tex-svg-full.js",
            "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6",
        ),
        "LICENSE": ("mathjax/LICENSE", "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"),
    },
    "reveal.js@4.6.1": {
        "dist/reveal.js": ("reveal/reveal.js", "73d4b64d59eded6de6a49500e7b709eb8d92c0d1d88d911319ce551c31341e9f"),
        "dist/reveal.css": ("reveal/reveal.css", "fa4713396db8274bc0f1def50767464b6d98e61f4f83d17f4de6417210b25901"),
        "LICENSE": ("reveal/LICENSE", "b7cb6bd5ddfd103bf1795467346d95f2a20eb027db0c3fc96255e8a3434dbdb5"),
    },
}


def vendor(package: str, files: dict[str, tuple[str, str]]) -> None:
    """Unpacks one npm package and copies the files that we use. Raises ValueError when a digest differs."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is not on the path: install Node.js first.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", package, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package_files:
            for source, (target, digest) in files.items():
                content = package_files.extractfile(f"package/{source}").read()
                if hashlib.sha256(content).hexdigest() != digest:
                    raise ValueError(f"{package}: {source} has another SHA-256 than the one written in {__file__}")
                (VENDOR / target).parent.mkdir(parents=True, exist_ok=True)
                (VENDOR / target).write_bytes(content)


if __name__ == "__main__":
    for package, files in ASSETS.items():
        vendor(package, files)
