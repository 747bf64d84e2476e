"""What agents can call by name: Python functions, functions with a schema of their own, and commands."""

from .command import CommandTool
from .function import FunctionTool
from .making import as_tool
from .schema_tool import SchemaTool
from .tool import Prepared, Tool

__all__ = ["CommandTool", "FunctionTool", "Prepared", "SchemaTool", "Tool", "as_tool"]
