"""Find items in what people have: a folder with a folder per class, a table of paths and labels, a zip of these."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.listed import ItemFile, Listed
from metaflow_hpo.modalities.items.path_tables import TABLES, list_table, peek_paths, read_listing
from metaflow_hpo.modalities.items.side_names import TEST, TRAIN, side_of
from metaflow_hpo.modalities.items.trees import Tree, open_tree, peek_names, read_file
from metaflow_hpo.modalities.table.files.file_names import ending_of

NEARLY_ALL = 0.9
"""Share of the files of a folder that are items, where it is a folder of items."""
_PEEKED = 2_000
"""Files, at most, by whose names a folder is recognised."""


def list_items(source: Path, hints: Hints, suffixes: Sequence[str]) -> Listed:
    """Return the items of a source with their classes, groups and test items; nothing of an item is read.

    Args:
        source: A folder with a folder per class (perhaps below `train` and `test`), or with a table of paths; a table
            (csv, parquet, xlsx) of paths and labels; or a zip of such a folder.
        hints: `target` names the column of classes, `options` others: `path`, `group`, `split`, and `root`, the folder
            that paths are below, which is that of the table unless given.
        suffixes: Endings of items, lower case with a dot.

    Raises:
        InvalidTaskError: If there are none; the message says what was found instead.
    """
    if source.suffix.lower() != ".zip" and not source.is_dir():
        return _hold_out(_list_table_file(source, hints, suffixes), hints, source)
    tree = open_tree(source)
    table = _find_table(tree, hints, suffixes)
    found = _list_folders(tree, suffixes) if table is None else table
    return _hold_out(replace(found, notes=(*tree.notes, *found.notes)), hints, source)


def holds_items(source: Path, suffixes: Sequence[str]) -> bool:
    """Tell, without reading much, whether a source is of files with such endings, see `list_items`."""
    ending = ending_of(source)
    if not source.exists() or (ending in TABLES and not source.is_dir()):
        return source.is_file() and peek_paths(source, suffixes)
    if not source.is_dir() and source.suffix.lower() != ".zip":
        return False
    others = [name.lower() for name in peek_names(source, _PEEKED) if not name.lower().endswith(TABLES)]
    fitting = sum(name.endswith(tuple(suffixes)) for name in others)  # plain text: paths cost seconds
    return fitting > 0 and fitting >= NEARLY_ALL * len(others)


def _list_table_file(source: Path, hints: Hints, suffixes: Sequence[str]) -> Listed:
    root = Path(str(hints.options.get("root", "."))).expanduser()
    folder = source.parent / root
    frame = read_listing(source, hints)

    def find(name: str) -> ItemFile | None:
        full = folder / name
        if "\\" in name and not full.is_file():
            full = folder / name.replace("\\", "/")  # as Windows writes it
        if not full.resolve().is_relative_to(folder.resolve()):
            raise InvalidTaskError(
                f"Expected paths in {source.name} below {folder}; found {name!r}. Write `options: {{root: <folder>}}` "
                "into its sidecar, if the files lie elsewhere."
            )
        return ItemFile(name, lambda: read_file(full)) if full.is_file() else None

    return list_table(source.name, frame, hints, suffixes, find)


def _find_table(tree: Tree, hints: Hints, suffixes: Sequence[str]) -> Listed | None:
    """Return what the only table of a folder lists, where it is one of paths."""
    tables = [name for name in tree.files if _is_table(name)]
    if len(tables) != 1:
        return None
    name = tables[0]
    at = PurePosixPath(name).parent
    frame = read_listing(tree.files[name], hints)

    def find(path: str) -> ItemFile | None:
        plain = PurePosixPath(path.replace("\\", "/"))
        return tree.files.get(str(at / plain)) or tree.files.get(str(plain))

    try:
        return list_table(name, frame, hints, suffixes, find)
    except InvalidTaskError:
        if "path" in hints.options or _count(_classes(tree, suffixes)) < 2:
            raise
        return None


def _list_folders(tree: Tree, suffixes: Sequence[str]) -> Listed:
    """Return the files of a folder with a folder per class."""
    fitting = [name for name in tree.files if _ends(name, suffixes)]
    if not fitting:
        _refuse_without(tree, suffixes)
    placed = dict(_place(fitting))
    notes = []
    others = [name for name in tree.files if name not in placed]
    if others:
        notes.append(f"Left out {len(others)} files with other endings: {listed(others)}.")
    loose = [name for name in fitting if placed[name][1] is None]
    if len(loose) == len(fitting):
        raise InvalidTaskError(
            f"Expected a folder for each class in {tree.source.name}; found {len(loose)} files without one "
            f"({listed(loose)}). Sort them into folders named like the classes, or give a table of paths and labels."
        )
    if loose:
        notes.append(f"Left out {len(loose)} files that lie in no folder of a class: {listed(loose)}.")
    kept = [name for name in fitting if placed[name][1] is not None]
    sides = [placed[name][0] for name in kept]
    held = None
    if any(sides):
        notes.append(f"Took {sides.count(TRAIN)} files as those to learn from, {sides.count(TEST)} as test items.")
    if TEST in sides and TRAIN in sides:
        held = tuple(side == TEST for side in sides)
    files = tuple(tree.files[name] for name in kept)
    return Listed(files, tuple(placed[name][1] for name in kept), None, held, tuple(notes))


def _place(names: Sequence[str]) -> Iterable[tuple[str, tuple[str, str | None]]]:
    """Return each path's side of the split (empty where there is none) and class (None where it has none)."""
    parts = {name: PurePosixPath(name).parts for name in names}
    depth = _shared_depth(list(parts.values()))
    tops = {one[depth] for one in parts.values() if len(one) > depth + 1}
    sides = [side_of(top) for top in tops]
    # `train` alone may be the class of a vehicle; what stands beside both sides has no class.
    if {TRAIN, TEST} <= set(sides) or (len(sides) > 1 and all(sides)):
        for name, one in parts.items():
            side = side_of(one[depth]) if len(one) > depth + 1 else ""
            yield name, (side, one[depth + 1] if side and len(one) > depth + 2 else None)
    else:
        for name, one in parts.items():
            yield name, ("", one[depth] if len(one) > depth + 1 else None)


def _shared_depth(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many folders all files are below: a zip often holds one folder that holds the classes."""
    depth = 0
    while all(len(path) > depth + 1 for path in paths) and len({path[depth] for path in paths}) == 1:
        if not any(len(path) > depth + 2 for path in paths):
            break  # that folder is a class
        depth += 1
    return depth


def _classes(tree: Tree, suffixes: Sequence[str]) -> list[str | None]:
    return [label for _, (_, label) in _place([name for name in tree.files if _ends(name, suffixes)])]


def _count(labels: Iterable[str | None]) -> int:
    return len({label for label in labels if label is not None})


def _refuse_without(tree: Tree, suffixes: Sequence[str]) -> None:
    endings = Counter(PurePosixPath(name).suffix.lower() or "none" for name in tree.files)
    found = ", ".join(f"{count} with {ending}" for ending, count in endings.most_common(5)) or "no files"
    raise InvalidTaskError(
        f"Expected files ending in {', '.join(suffixes)} in {tree.source.name}; found {found}. Give the folder that "
        "has a folder for each class."
    )


def _hold_out(found: Listed, hints: Hints, source: Path) -> Listed:
    """Take the test items that a person names, by their places among the files."""
    if hints.test_rows is None:
        return found
    wrong = [row for row in hints.test_rows if row >= len(found.files)]
    if wrong:
        raise InvalidTaskError(
            f"Expected test_rows below {len(found.files)}, the items of {source.name}; found {listed(wrong)}."
        )
    chosen = set(hints.test_rows)
    return replace(found, held=tuple(position in chosen for position in range(len(found.files))))


def _is_table(name: str) -> bool:
    return ending_of(Path(name)) in TABLES


def _ends(name: str, suffixes: Sequence[str]) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes
