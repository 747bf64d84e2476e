"""What can do an agent's work, one file for each; none is loaded before it is used."""

__all__: list[str] = []
