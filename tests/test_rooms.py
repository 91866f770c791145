"""The rooms of the package: which may import which, read from the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jaxdnn

ROOT = Path(jaxdnn.__file__).parent

FLOORS = (
    {"errors"},
    {"torch_compat", "runtime"},
    {"data"},
    {"losses", "optim", "models"},
    {"training"},
    {"workflows"},
    {"runs", "parity"},
    {"verification"},
    {"study"},
    {"cli"},
)
"""From the ground up: a room imports only rooms of lower floors."""

NOT_BELOW_RUNS = {"torch_compat", "data", "losses", "optim", "models", "training", "workflows"}
"""Rooms of pure functions, which know nothing of the machine: they may not import `runtime`."""


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def rooms() -> list[str]:
    return sorted(
        path.stem
        for path in ROOT.iterdir()
        if (path.is_dir() and (path / "__init__.py").exists())
        or (path.suffix == ".py" and not path.stem.startswith("__"))
    )


def files(room: str) -> list[Path]:
    path = ROOT / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jaxdnn."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            if node.module == "jaxdnn":
                yield from (f"jaxdnn.{alias.name}" for alias in node.names)
            elif node.module.startswith("jaxdnn."):
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_has_its_floor() -> None:
    assert set(rooms()) == set().union(*FLOORS)


@pytest.mark.parametrize("room", rooms())
def test_imports_run_downwards(room: str) -> None:
    floor = next(i for i, floor in enumerate(FLOORS) if room in floor)
    below = set().union(*FLOORS[:floor]) | {room}
    allowed = below - ({"runtime"} if room in NOT_BELOW_RUNS else set())
    if room == "runtime":
        allowed = {"runtime", "errors"}
    for path in files(room):
        found = {room_of(module) for module in imports(path)} - {"__version__", ""}
        assert found <= allowed, f"{path.relative_to(ROOT)} imports {sorted(found - allowed)}"


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {
        ".".join(("jaxdnn", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in ROOT.rglob("*.py")
    }
    graph = {
        name: {module for module in imports(path) if module in modules and module != name}
        for name, path in modules.items()
        # A package's face hands on the names of its modules, which may import their neighbours.
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name in done:
            return
        for module in graph.get(name, ()):
            visit(module, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


DOORS = {"parity", "verification", "study"}
"""Rooms that may import `reference_torch`, inside functions."""


def packages(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level packages that a file imports but for types, and whether inside a function."""
    todo: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0], inside
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            inside = inside or isinstance(node, ast.FunctionDef)
            todo += [(child, inside) for child in ast.iter_child_nodes(node)]


@pytest.mark.parametrize("room", rooms())
def test_torch_is_behind_three_doors(room: str) -> None:
    for path in files(room):
        found = set(packages(path))
        assert not {("torch", True), ("torch", False), ("reference_torch", False)} & found, path
        assert room in DOORS or ("reference_torch", True) not in found, path


def test_the_mirror_knows_nothing_of_jax() -> None:
    for path in (ROOT.parent / "reference_torch").rglob("*.py"):
        found = {name for name, _ in packages(path)}
        assert not {"jax", "jaxlib", "flax", "optax", "jaxdnn"} & found, path


@pytest.mark.parametrize("package", ["jaxdnn", "reference_torch"])
def test_every_room_says_what_it_is(package: str) -> None:
    for path in (ROOT.parent / package).rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert len(doc.split()) >= 15, f"{path} does not explain its room"
