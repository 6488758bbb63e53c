"""The pages of the documentation: their examples run, their tables are those of the records, and their names exist."""

import doctest
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from torsor.recipes import Published, Record, recipe_files, recipe_names
from torsor.recipes.record import MeasuredError

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SYSTEMS = ("se3_transformer", "lie_transformer", "gatr", "dial", "relax", "clone", "symmetrize")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", DOCS / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- pages -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_examples_of_a_page_print_what_the_page_says(system: str) -> None:
    text = (DOCS / f"{system}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    assert blocks
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, system, f"{system}.md", 0)
    said: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert results.attempted > 5
    assert not results.failed, "".join(said)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (DOCS / target).exists(), target


def test_recipes_that_pages_run_exist() -> None:
    named = {name for path in PAGES for name in re.findall(r"torsor reproduce (\S+/\S+)", path.read_text(encoding="utf-8"))}
    assert len(named) >= 3
    assert named <= set(recipe_names())


def test_tests_that_findings_name_exist() -> None:
    text = (DOCS / "findings.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| ") and "tests/" in row]
    assert len(rows) > 5
    for row in rows:
        path = ""
        for file, test in re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", row):
            path = file or path
            assert f"def {test}(" in (DOCS.parent / path).read_text(encoding="utf-8"), test


# -- tables ------------------------------------------------------------------------------------------------------------------------------


def test_tables_of_the_pages_are_those_of_the_records(maker: ModuleType) -> None:
    records = maker.read_records(maker.RECORDS)
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert maker.with_tables(text, records) == text, f"{path.name} is out of date: run python docs/make_tables.py"


def test_every_recipe_but_those_of_molecules_has_its_table() -> None:
    marked = {title for path in PAGES for title in re.findall(r"(?m)^<!-- reproduced: (\S+) -->$", path.read_text(encoding="utf-8"))}
    assert marked == {title for title in recipe_files() if not title.startswith("molecules/")}


def made_up(**changes: Any) -> Record:
    """A record of no run."""
    content: dict[str, Any] = {
        "recipe": "gatr/nbody-gatr",
        "size": "quick",
        "seed": 0,
        "date": "2001-02-03",
        "hardware": "an abacus",
        "torsor": "0",
        "torch": "0",
        "git_revision": None,
        "steps": 1200,
        "samples": 9600,
        "seconds_per_step": 0.25,
        "parameters": 12345,
        "flops_per_step": 2_000_000,
        "ours": {"mse_position": 0.002, "loss": 7.0},
        "units": {"mse_position": "m^2"},
        "method": "GATr",
        "published": (Published("mse_position", 0.001, "GATr"), Published("mse_position", 0.005, "Other", setting="elsewhere")),
        "baselines": {"standing still": {"mse_position": 0.5}},
        "equivariance": (MeasuredError("SE(3) x S()", "the model's own group", 1e-6, 1e-7),),
    }
    return Record(**{**content, **changes})


def cells(table: str, start: str) -> list[list[str]]:
    """The rows that begin with a cell."""
    lines = [line.strip("| ") for line in table.splitlines() if line.startswith(f"| {start} ")]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_a_table_has_published_ours_ratio_baselines_and_cost(maker: ModuleType) -> None:
    table = maker.reproduced("gatr/nbody", [made_up()])
    figures, costs = cells(table, "gatr/nbody-gatr")
    assert figures[1:] == ["quick", "mse_position (m^2)", "0.00100", "0.00200", "2.00", "standing still 0.500"]
    assert costs[1:] == [
        "quick",
        "1",
        "12,345",
        "1,200",
        "0.250 s",
        "2.00 MFLOP",
        "1.0e-6 under SE(3) x S() (rounding 1.0e-7)",
        "an abacus",
        "2001-02-03",
    ]
    assert "Published, mse_position: GATr 0.00100, Other 0.00500 (elsewhere)." in table
    assert "7.0" not in table  # the loss has nothing beside it


def test_seeds_are_one_row_with_their_mean_and_spread_and_the_worst_error(maker: ModuleType) -> None:
    worse = (MeasuredError("SE(3) x S()", "the model's own group", 3e-6, 1e-7),)
    second = made_up(seed=1, ours={"mse_position": 0.004}, equivariance=worse, date="2001-02-05")
    figures, costs = cells(maker.reproduced("gatr/nbody", [made_up(), second]), "gatr/nbody-gatr")
    assert figures[4:6] == ["0.00300 +- 0.0014", "3.00"]
    assert (costs[2], costs[7], costs[9]) == ("2", "3.0e-6 under SE(3) x S() (rounding 1.0e-7)", "2001-02-05")


def test_variants_and_sizes_stand_in_one_table_and_other_recipes_do_not(maker: ModuleType) -> None:
    records = [
        made_up(size="full"),
        made_up(),
        made_up(recipe="gatr/nbody-egnn", method=""),
        made_up(recipe="gatr/nbody-all-data-gatr", hardware="another"),
    ]
    table = maker.reproduced("gatr/nbody", records)
    assert [row[1] for row in cells(table, "gatr/nbody-gatr")] == ["quick", "full"] * 2
    assert cells(table, "gatr/nbody-egnn")[0][3:6] == ["none", "0.00200", ""]
    assert "all-data" not in table
    assert table.splitlines()[-1] == (
        "Not run yet, quick: `gatr/nbody-transformer`, `gatr/nbody-mlp`, `gatr/nbody-se3-transformer`; cpu: all of them; "
        "full: `gatr/nbody-transformer`, `gatr/nbody-mlp`, `gatr/nbody-se3-transformer`, `gatr/nbody-egnn`."
    )


def test_what_was_never_run_says_so_alone(maker: ModuleType) -> None:
    assert maker.reproduced("gatr/nbody", []) == "Not run yet, quick: all of them; cpu: all of them; full: all of them."


def test_a_page_is_written_between_its_marks_alone_and_stays_as_it_is_the_second_time(maker: ModuleType) -> None:
    page = "before\n<!-- reproduced: se3-transformer/nbody -->\nold\n<!-- end -->\nafter\n"
    once = maker.with_tables(page, [])
    assert once.startswith("before\n<!-- reproduced: se3-transformer/nbody -->\n\nNot run yet, quick: `se3-transformer/nbody`;")
    assert once.endswith("\n\n<!-- end -->\nafter\n")
    assert "old" not in once
    assert maker.with_tables(once, []) == once
