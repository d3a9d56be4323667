"""How much of what makes a report is not behind the walls: untyped values, whole runs, whole settings.

An object whose keys are not ours (`serialization.Json`) is named so, and not counted.
``python tests/test_walls.py`` prints the numbers.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cac_hpc"
FOLDERS = ("results", "statistics", "evaluation", "sections", "appendix", "report", "transfer")
UNTYPED = {"dict[str, Any]", "Mapping[str, Any]"}
LIMITS = {"untyped mappings": 20, "functions that take RunPaths": 6, "functions that take the whole Config": 6}


def counts():
    """The three numbers, by module."""
    found = {name: {} for name in LIMITS}
    for path in sorted(path for folder in FOLDERS for path in (PACKAGE / folder).glob("*.py")):
        module = f"{path.parent.name}.{path.stem}"
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        functions = [node.args for node in nodes if isinstance(node, ast.FunctionDef)]
        taken = [
            {name.id for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg) if arg and arg.annotation
             for name in ast.walk(arg.annotation) if isinstance(name, ast.Name)}
            for args in functions
        ]  # fmt: skip
        numbers = (
            sum(isinstance(node, ast.Subscript) and ast.unparse(node) in UNTYPED for node in nodes),
            sum("RunPaths" in names for names in taken),
            sum("Config" in names for names in taken),
        )
        for name, number in zip(LIMITS, numbers, strict=True):
            if number:
                found[name][module] = number
    return found


@pytest.mark.parametrize("name", LIMITS)
def test_little_is_outside_of_the_walls(name):
    found = counts()[name]
    assert sum(found.values()) <= LIMITS[name], found


if __name__ == "__main__":
    for name, found in counts().items():
        print(f"{name}: {sum(found.values())} {found}")
