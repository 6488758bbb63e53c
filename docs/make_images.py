"""Write the pictures of the README and the documentation from a finished demo: `python docs/make_images.py runs/demo`."""

import sys
from pathlib import Path

from torsor.report.plots import learning_curves
from torsor.study import analyse

# the page's own colours do not reach a picture that stands alone: grey reads on light and on dark
COLOURS = {"currentColor": "#7d8590", "var(--rule)": "#7d859055"}


def main() -> None:
    svg = learning_curves(analyse(Path(sys.argv[1]) / "planets"))
    for name, colour in COLOURS.items():
        svg = svg.replace(name, colour)
    if "xmlns=" not in svg:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    (folder / "first_answer.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
