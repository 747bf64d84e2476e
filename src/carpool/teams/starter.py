"""The team file that a beginner starts from: it runs as it is, offline, without a key, and says what else there is."""

from __future__ import annotations

import tomllib

from .dumping import Format
from .json_text import write_json

__all__ = ["starter"]

_YAML = """\
# A team of agents. Relative paths lie in the folder of this file.

# What the agents are asked.
task: How does each of these animals find its way?

# What all of them may spend together, whatever happens.
budget: 50k tokens, 20 agents, 5m

# Who does the work. "extractive" is offline and free, and no language model: it picks sentences.
# A runner of your own is module:attribute. With models:
# runner:
#   model: {model: "openai:MODEL"}
runner: extractive

agents:
  reader:
    system_prompt: Answer the task from this item alone, briefly.
    # The most that one start should spend: it is held while the agent runs, so that no limit is crossed.
    estimate: 2k input tokens, 500 output tokens
  editor:
    system_prompt: Make one brief answer of these answers.
    estimate: 4k input tokens, 1k output tokens

# Where an agent's name stands, another pattern may stand: teams nest.
team:
  pattern: map_reduce
  mapper: reader
  reducer: editor
  max_concurrent: 4
  items:
    # Files are named like this: - "docs/**/*.md"
    - label: pigeon
      text: Pigeons find their way by the sun and by the earth's magnetic field. They live in most cities.
    - label: salmon
      text: Salmon find their way back to the river of their birth by its smell. They travel far across the sea.
"""

_TOML = """\
# A team of agents. Relative paths lie in the folder of this file.

# What the agents are asked.
task = "How does each of these animals find its way?"

# What all of them may spend together, whatever happens.
budget = "50k tokens, 20 agents, 5m"

# Who does the work. "extractive" is offline and free, and no language model: it picks sentences.
# A runner of your own is "module:attribute". With models, instead of this line, further below:
# [runner.model]
# model = "openai:MODEL"
runner = "extractive"

[agents.reader]
system_prompt = "Answer the task from this item alone, briefly."
# The most that one start should spend: it is held while the agent runs, so that no limit is crossed.
estimate = "2k input tokens, 500 output tokens"

[agents.editor]
system_prompt = "Make one brief answer of these answers."
estimate = "4k input tokens, 1k output tokens"

# Where an agent's name stands, another pattern may stand: teams nest.
[team]
pattern = "map_reduce"
mapper = "reader"
reducer = "editor"
max_concurrent = 4

# Files are named like this, in [team]: items = ["docs/**/*.md"]
[[team.items]]
label = "pigeon"
text = "Pigeons find their way by the sun and by the earth's magnetic field. They live in most cities."

[[team.items]]
label = "salmon"
text = "Salmon find their way back to the river of their birth by its smell. They travel far across the sea."
"""


def starter(format: Format = "yaml") -> str:  # noqa: A002 - its usual name
    """The text of the file. JSON has no comments, so that one has none.

    :raises ValueError: for a format that there is none of.
    """
    if format not in ("yaml", "toml", "json"):
        raise ValueError(f"format must be 'yaml', 'toml' or 'json', not {format!r}")
    if format == "json":
        return write_json(tomllib.loads(_TOML))
    return _YAML if format == "yaml" else _TOML
