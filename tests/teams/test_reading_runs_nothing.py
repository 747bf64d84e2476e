"""Reading a team file runs nothing that it says: forty files that try, and a process that watches itself."""

import json
import subprocess
import sys
from pathlib import Path

HEAD = "agents: {ann: {system_prompt: x}}\nteam: {pattern: vote, agents: [ann]}\n"
TAGS = [
    "!!python/object/apply:os.system [touch canary]",
    "!!python/object/apply:subprocess.Popen [[touch, canary]]",
    "!!python/object/apply:builtins.exec ['import evil']",
    "!!python/object/apply:builtins.eval ['__import__(\"evil\")']",
    "!!python/object/new:os.system [touch canary]",
    "!!python/object:evil.Thing {}",
    "!!python/name:evil.thing ''",
    "!!python/module:evil ''",
    "!<tag:yaml.org,2002:python/module:evil> ''",
    '!!python/object/new:type {args: [z, [], {extend: !!python/name:exec }], listitems: "import evil"}',
]
VALUES = [
    "$(touch canary)",
    "`touch canary`",
    "'{{ cycler.__init__.__globals__.os.system(\"touch canary\") }}'",
    "'${jndi:ldap://127.0.0.1/x}'",
    "__import__('evil')",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
]
REST = [
    "runner: evil:run",
    "runner: evil:Runner",
    "runner: os:system",
    "runner: builtins:exec",
    "runner: {command: {argv: [touch, canary, '{task}']}}",
    "runner: {command: {argv: [./evil.sh, '{task}']}}",
    "runner: {model: {model: 'openai:x', base_url: 'http://127.0.0.1:9', api_key_env: HOME}}",
    "tools: {functions: [evil:tool]}",
    "tools: {functions: [{function: evil:tool, tier: read_only}]}",
    "tools: {functions: ['os:system']}",
    "tools: {commands: {t: {argv: [touch, canary]}}}",
    "tools: {commands: {t: {argv: [./evil.sh], cwd: /}}}",
    "tools: {mcp: {t: {command: ./evil.sh}}}",
    "tools: {mcp: {t: {url: 'http://127.0.0.1:9'}}}",
    "policies: evil.py",
    "policies: ../../../../../../etc/passwd",
    "policies: {deny_tool: [evil]}",
    "$schema: http://127.0.0.1:9/schema.json",
    "include: evil.yaml",
    "<<: !!python/module:evil ''",
]
FILES = {
    "team.toml": 'runner = "evil:run"\nagents.ann.system_prompt = "x"\n[team]\npattern = "vote"\nagents = ["ann"]\n',
    "class.json": '{"__class__": "evil.Thing", "py/object": "evil.Thing", "team": "evil"}',
    "reduce.json": '{"team": {"pattern": "evil:Pattern", "py/reduce": [{"py/type": "os.system"}, ["touch canary"]]}}',
}

WATCH = """
import json, sys
import carpool.teams.yaml_text, carpool.tools.command, carpool.runners.command, carpool.runners.command_output
from carpool.errors import ConfigError
from carpool.teams import dump_team, read_team

seen = []
LOUD = ("subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "socket.", "pty.", "ctypes.")


def hook(event, args):
    of_evil = event in ("import", "open") and any(word in str(args[0]) for word in ("evil", "canary"))
    if event.startswith(LOUD) or (of_evil and not str(args[0]).endswith("evil.py")):
        seen.append([event, str(args)[:200]])


sys.path.insert(0, "")
sys.addaudithook(hook)
refused = 0
for name in sys.argv[1:]:
    try:
        team = read_team(name)
        team.pattern.plan() if team.items is None else None
        dump_team(team.pattern)
    except ConfigError:
        refused += 1
quiet, evil = list(seen), "evil" in sys.modules
read_team("team.toml").make_runner()  # the watch is awake: now it is asked for
print(json.dumps({"quiet": quiet, "seen": seen, "evil": evil, "refused": refused}))
"""


def test_reading_runs_imports_starts_and_connects_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('canary', 'w')\nasync def run(*_): pass\ndef tool(): pass\n")
    script = tmp_path / "evil.sh"
    script.write_text("#!/bin/sh\ntouch canary\n")
    script.chmod(0o755)
    texts = [f"{HEAD}task: {each}\n" for each in (*TAGS, *VALUES)] + [f"{HEAD}{each}\n" for each in REST]
    files = {f"{n}.yaml": text for n, text in enumerate(texts)} | FILES
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, "-c", WATCH, *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(files) >= 40
    assert found["quiet"] == []
    assert not found["evil"]
    assert any(args.startswith("('canary'") for _, args in found["seen"])
    assert (tmp_path / "canary").exists()
    assert len(TAGS) < found["refused"] < len(files)
