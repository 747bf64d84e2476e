"""What the runners of other libraries' agents have in common: they find them, meter their model calls, and say what
came of it."""

__all__: list[str] = []
