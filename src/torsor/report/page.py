"""The shell of a report: one HTML file that asks no server for anything and reads on light and dark screens."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

STYLE = """
:root { --paper: #fdfdfc; --ink: #1d2126; --soft: #5b636e; --rule: #d5d9de; --box: #f2f4f6; --accent: #2f7ed8; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e8ea; --soft: #9aa3ad; --rule: #363c44; --box: #1f242a; --accent: #6aa9f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h1.part { margin-top: 4.5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
p { margin: .5rem 0; max-width: 52rem; }
.sub, .note, figcaption { color: var(--soft); font-size: .9rem; }
.verdict { margin: 1.5rem 0; padding: 1rem 1.25rem; background: var(--box); border-left: 4px solid var(--accent); border-radius: 4px; }
.verdict strong { display: block; font-size: 1.3rem; letter-spacing: .03em; }
.verdict p { font-size: 1.08rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
th:first-child, .prose td, .prose th { text-align: left; }
td { white-space: nowrap; }
.prose td { white-space: normal; }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 600; white-space: nowrap; }
.wide + .wide, .note + .wide { margin-top: 1.25rem; }
figure { margin: 1rem 0; }
figure svg { width: 100%; height: auto; max-width: 52rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 0 1.5rem; }
pre { background: var(--box); padding: .75rem 1rem; border-radius: 4px; overflow-x: auto; font-size: .82rem; line-height: 1.45; }
li { margin: .3rem 0; max-width: 52rem; }
"""


@dataclass(frozen=True)
class Html:
    """A piece of a page that is HTML already; everything else is text and gets escaped.

    Args:
        source: the HTML.
    """

    source: str


Piece = str | Html


def page(name: str, *pieces: Piece) -> str:
    """A whole document.

    Args:
        name: title of the window and the top line.
        pieces: what follows; a string becomes a paragraph.
    """
    body = "\n".join(piece.source if isinstance(piece, Html) else paragraph(piece).source for piece in pieces)
    # no request can leave this page, whatever is in it
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(name)}</h1>\n{body}\n</body>\n</html>\n"
    )


def title(text: str) -> Html:
    """The title of a part of a page that has several."""
    return Html(f'<h1 class="part">{escape(text)}</h1>')


def heading(text: str) -> Html:
    """A section's heading."""
    return Html(f"<h2>{escape(text)}</h2>")


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph, possibly of a kind that the style knows ("sub", "note")."""
    return Html(f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")


def figure(svg: str, caption: str) -> Html:
    """A drawing with its caption."""
    return Html(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")


def side_by_side(*pieces: Html) -> Html:
    """Pieces beside each other where there is room."""
    return Html(f'<div class="pair">{"".join(piece.source for piece in pieces)}</div>')


def items(lines: tuple[str, ...]) -> Html:
    """A list of sentences."""
    return Html("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


def code(text: str) -> Html:
    """Text as it is typed."""
    return Html(f"<pre>{escape(text)}</pre>")


def verdict(word: str, sentence: str) -> Html:
    """The box at the top."""
    return Html(f'<div class="verdict"><strong>{escape(word)}</strong><p>{escape(sentence)}</p></div>')
