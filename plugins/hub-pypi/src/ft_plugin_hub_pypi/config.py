"""Keys owned by this plugin."""

from ftk.section import section


@section("pypi")
class PypiConfig:
    pypi_cache_dir: str | None = None
    """Where models of packages are kept. `pypi` in FTK_CACHE, or `ftk/pypi` in the user's cache, when not given."""
