"""Takes the README's pictures: the report of a training run, and the playground.

Trains on the built-in table, makes both pages in a temporary folder, and photographs them
with Chromium (scripts/install_chromium.sh installs it):

    python scripts/draw_pictures.py docs

writes docs/report.png and docs/playground.png.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# The spiral under 16 units, on the way, and a point of it.
VIEW = "#set=2&learning_rate=1&width=2&batch_size=1&init=0&snapshot=20&point=44&size=same"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the two pictures")
    parser.add_argument(
        "--quick", action="store_true", help="a few epochs, to see that it works"
    )
    options = parser.parse_args()
    browser = shutil.which("chromium")
    if browser is None:
        parser.error("needs chromium: scripts/install_chromium.sh installs it")
    if not options.out.is_dir():
        parser.error(f"{options.out}: no such folder")
    few = ("--epochs", "3") if options.quick else ()
    with TemporaryDirectory() as folder:
        model, page = Path(folder) / "model", Path(folder) / "playground.html"
        jaxmlp("train", "--out", str(model), *few)
        jaxmlp("playground", "--out", str(page), *few)
        report = (model / "report.html").resolve().as_uri()
        photograph(browser, report, options.out / "report.png", height=1240)
        playground = page.resolve().as_uri() + VIEW
        photograph(browser, playground, options.out / "playground.png", height=1240)


def jaxmlp(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jaxmlp", *arguments, "--quiet"], check=True)


def photograph(browser: str, address: str, out: Path, *, height: int) -> None:
    """Writes a picture of the top of a page, as PNG."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        f"--window-size=1200,{height}",
        f"--screenshot={out.resolve()}",
        address,
    ]
    subprocess.run(command, check=True, capture_output=True)
    print(out)


if __name__ == "__main__":
    main()
