"""Files as tests of sources need them."""


def write_files(folder, names, contents):
    """Write contents below a folder, which is returned, under names that may hold folders of their own."""
    for name, content in zip(names, contents, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
