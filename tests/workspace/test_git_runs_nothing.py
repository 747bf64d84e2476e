"""Nothing that lies in a repository, in a worktree or in the user's settings makes our git run a program.

Each trap, if it is sprung, leaves a file. It is set before, or by the agent in its worktree; then everything that a
workspace does is done: it is made, looked at, saved, removed, and looked for as a leftover.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces

HOOKS = [
    "applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change",
    "post-merge", "post-rewrite", "post-update", "pre-applypatch", "pre-auto-gc", "pre-commit", "pre-merge-commit",
    "pre-push", "pre-rebase", "pre-receive", "prepare-commit-msg", "push-to-checkout", "reference-transaction",
    "update",
]  # fmt: skip
COMMANDS = [
    "rev-parse", "worktree", "read-tree", "ls-files", "diff-files", "diff-tree", "fast-import", "update-ref",
    "reset",
]  # fmt: skip


class Traps:
    """Where the files go that sprung traps leave, and the repository in which they are set."""

    def __init__(self, folder: Path, repository, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sprung = folder / "sprung"
        self.folder = folder / "traps"
        self.sprung.mkdir()
        self.folder.mkdir()
        self.repository = repository
        self.environment = monkeypatch.setenv

    def command(self, name: str, then: str = "[ -t 0 ] || cat") -> str:
        """A program that leaves a file and passes on what it is given."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n: > '{self.sprung}/{name}'\n{then}\n")
        path.chmod(0o755)
        return str(path)

    def config(self, *settings: str, file: str | None = None) -> None:
        where = [] if file is None else ["--file", file]
        for setting in settings:
            key, _, value = setting.partition("=")
            self.repository.git("config", *where, key, value)

    def hooks_in(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for hook in HOOKS:
            hook_file = folder / hook
            hook_file.unlink(missing_ok=True)
            hook_file.write_text(f"#!/bin/sh\n: > '{self.sprung}/hook-{hook}'\nexit 0\n")
            hook_file.chmod(0o755)


# Set before: in the repository


def hooks(t: Traps) -> None:
    t.hooks_in(t.repository.path / ".git" / "hooks")


def hooks_path(t: Traps) -> None:
    t.hooks_in(t.folder / "hooks")
    t.config(f"core.hooksPath={t.folder / 'hooks'}")


def hooks_path_in_the_tree(t: Traps) -> None:
    t.hooks_in(t.repository.path / "tools")
    t.repository.commit({})
    t.config("core.hooksPath=tools")


def fsmonitor(t: Traps) -> None:
    t.config(f"core.fsmonitor={t.command('fsmonitor')}", "core.fsmonitorHookVersion=2")


def filter_smudge_and_clean(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* filter=trap\n"})
    t.config(f"filter.trap.smudge={t.command('smudge')}", f"filter.trap.clean={t.command('clean')}")


def filter_process(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* filter=trap\n"})
    t.config(f"filter.trap.process={t.command('process')}")


def filter_required(t: Traps) -> None:
    filter_smudge_and_clean(t)
    t.config("filter.trap.required=true")


def filter_by_info_attributes(t: Traps) -> None:
    filter_smudge_and_clean(t)
    (t.repository.path / ".git" / "info" / "attributes").write_text("* filter=trap\n")


def filter_by_attributes_file(t: Traps) -> None:
    filter_smudge_and_clean(t)
    (t.folder / "attributes").write_text("* filter=trap\n")
    t.config(f"core.attributesFile={t.folder / 'attributes'}")


def filter_named_like_lfs(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* filter=lfs diff=lfs merge=lfs -text\n"})
    t.config(f"filter.lfs.process={t.command('lfs')}", f"filter.lfs.smudge={t.command('lfs-smudge')}")


def filter_by_a_macro(t: Traps) -> None:
    filter_smudge_and_clean(t)
    t.repository.commit({".gitattributes": "[attr]sly filter=trap diff=trap\n* sly\n"})


def textconv(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* diff=trap\n"})
    t.config(f"diff.trap.textconv={t.command('textconv')}", "diff.trap.cachetextconv=true")


def external_diff(t: Traps) -> None:
    t.config(f"diff.external={t.command('external')}")


def external_diff_of_a_driver(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* diff=trap\n"})
    t.config(f"diff.trap.command={t.command('driver')}")


def merge_driver(t: Traps) -> None:
    t.repository.commit({".gitattributes": "* merge=trap\n"})
    t.config(f"merge.trap.driver={t.command('merge')}", "merge.default=trap")


def aliases(t: Traps) -> None:
    for command in COMMANDS:
        t.config(f"alias.{command}=!{t.command('alias-' + command)}")


def pager(t: Traps) -> None:
    t.config(f"core.pager={t.command('pager')}", *(f"pager.{command}={t.command('pager')}" for command in COMMANDS))


def editors(t: Traps) -> None:
    t.config(f"core.editor={t.command('editor')}", f"sequence.editor={t.command('sequence')}")


def ssh_command(t: Traps) -> None:
    t.config(
        f"core.sshCommand={t.command('ssh')}", "remote.origin.url=ssh://localhost/x", "remote.origin.promisor=true"
    )


def git_proxy(t: Traps) -> None:
    t.config(
        f"core.gitProxy={t.command('proxy')}", "remote.origin.url=git://localhost/x", "remote.origin.promisor=true"
    )


def credential_helper(t: Traps) -> None:
    t.config(f"credential.helper=!{t.command('credential')}", f"core.askPass={t.command('askpass')}")


def signatures(t: Traps) -> None:
    t.config(f"gpg.program={t.command('gpg')}", "log.showSignature=true", "commit.gpgSign=true", "diff.submodule=log")


def alternate_refs(t: Traps) -> None:
    t.config(f"core.alternateRefsCommand={t.command('alternates')}")


def pack_objects_hook(t: Traps) -> None:
    t.config(f"uploadpack.packObjectsHook={t.command('pack')}")


def interactive_filter(t: Traps) -> None:
    t.config(f"interactive.diffFilter={t.command('interactive')}", "color.ui=always")


def included_config(t: Traps) -> None:
    included = str(t.folder / "more.config")
    t.config(f"core.fsmonitor={t.command('included')}", f"diff.external={t.command('included-diff')}", file=included)
    t.config(f"include.path={included}")


def conditionally_included_config(t: Traps) -> None:
    included = str(t.folder / "more.config")
    t.config(f"core.fsmonitor={t.command('conditional')}", file=included)
    t.config(f"includeIf.gitdir:**.path={included}", f"includeIf.onbranch:**.path={included}")


def config_of_the_worktree(t: Traps) -> None:
    t.config("extensions.worktreeConfig=true", "core.repositoryFormatVersion=1")
    t.repository.git("config", "--worktree", "core.fsmonitor", t.command("config-worktree"))
    t.repository.git("config", "--worktree", "core.hooksPath", str(t.folder / "hooks"))
    t.hooks_in(t.folder / "hooks")


def promised_objects(t: Traps) -> None:
    """A partial clone that lacks an object, and would fetch it from a remote that is a program."""
    t.config(
        "core.repositoryFormatVersion=1",
        "extensions.partialClone=origin",
        f"remote.origin.url=ext::{t.command('promised', 'exit 1')} %S",
        "remote.origin.promisor=true",
        "remote.origin.partialCloneFilter=blob:none",
        "protocol.allow=always",
        "protocol.ext.allow=always",
    )
    blob = t.repository.git("rev-parse", "HEAD:a.txt")
    (t.repository.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def promised_by_a_local_program(t: Traps) -> None:
    promised_objects(t)
    t.config(f"remote.origin.url={t.repository.path}", f"remote.origin.uploadpack={t.command('uploadpack', 'exit 1')}")


def promised_by_a_helper(t: Traps) -> None:
    promised_objects(t)
    t.command("git-remote-trap", "exit 1")
    t.environment("PATH", f"{t.folder}:{os.environ['PATH']}")
    t.config("remote.origin.vcs=trap")


def submodule_update(t: Traps) -> None:
    t.repository.commit({".gitmodules": '[submodule "s"]\n\tpath = s\n\turl = ./x\n\tupdate = !touch x\n'})
    t.config("submodule.recurse=true", f"submodule.s.update=!{t.command('submodule')}", "submodule.s.active=true")


def replaced_commit(t: Traps) -> None:
    """The commit is replaced by one whose attributes ask for a filter."""
    filter_smudge_and_clean(t)
    first = t.repository.git("rev-parse", "HEAD~1")
    t.repository.git("replace", first, "HEAD")
    t.repository.git("checkout", "--quiet", "--detach", first)


def split_index(t: Traps) -> None:
    t.config("core.splitIndex=true", f"core.fsmonitor={t.command('split')}", "core.untrackedCache=true")


def maintenance(t: Traps) -> None:
    hooks(t)
    t.config("gc.auto=1", "gc.autoDetach=false", "maintenance.strategy=incremental", "core.commitGraph=true")


def guessing_worktrees(t: Traps) -> None:
    hooks(t)
    t.config("worktree.guessRemote=true", "checkout.defaultRemote=origin", "checkout.workers=4", "core.autocrlf=true")


def sparse_checkout(t: Traps) -> None:
    t.repository.git("sparse-checkout", "set", "--no-cone", "/*", "!/folder")
    t.config(f"core.fsmonitor={t.command('sparse')}", "index.sparse=true")


# Set before: in the user's settings and environment


def user_config(t: Traps) -> None:
    home = t.folder / "home"
    home.mkdir()
    t.config(
        f"core.fsmonitor={t.command('user')}", f"diff.external={t.command('user-diff')}", file=str(home / ".gitconfig")
    )
    t.environment("HOME", str(home))
    t.environment("XDG_CONFIG_HOME", str(home))
    t.environment("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    t.environment("GIT_CONFIG_SYSTEM", str(home / ".gitconfig"))
    t.environment("GIT_CONFIG_NOSYSTEM", "0")


def config_in_the_environment(t: Traps) -> None:
    t.environment("GIT_CONFIG_COUNT", "2")
    t.environment("GIT_CONFIG_KEY_0", "core.fsmonitor")
    t.environment("GIT_CONFIG_VALUE_0", t.command("environment"))
    t.environment("GIT_CONFIG_KEY_1", "diff.external")
    t.environment("GIT_CONFIG_VALUE_1", t.command("environment-diff"))
    t.environment("GIT_CONFIG_PARAMETERS", f"'core.fsmonitor={t.command('parameters')}'")


def programs_in_the_environment(t: Traps) -> None:
    for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_PROXY_COMMAND", "GIT_ASKPASS", "SSH_ASKPASS",
                 "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "PAGER", "EDITOR", "VISUAL"):  # fmt: skip
        t.environment(name, t.command(f"variable-{name}"))


def exec_path_in_the_environment(t: Traps) -> None:
    for command in COMMANDS:
        t.command(f"git-{command}")
    t.command("git")
    t.environment("GIT_EXEC_PATH", str(t.folder))


def another_repository_in_the_environment(t: Traps) -> None:
    evil = type(t.repository)(t.folder / "evil")
    evil.commit({"evil": "evil"})
    evil.git("config", "core.fsmonitor", t.command("evil-fsmonitor"))
    for name, value in {"GIT_DIR": ".git", "GIT_COMMON_DIR": ".git", "GIT_OBJECT_DIRECTORY": ".git/objects",
                        "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}.items():  # fmt: skip
        t.environment(name, str(evil.path / value))


def templates_in_the_environment(t: Traps) -> None:
    t.hooks_in(t.folder / "template" / "hooks")
    t.environment("GIT_TEMPLATE_DIR", str(t.folder / "template"))


# Set by the agent, in its worktree


def agent_adds_a_filter(t: Traps, at: Path) -> None:
    (at / ".gitattributes").write_text("* filter=trap diff=trap\n")
    t.config(f"filter.trap.clean={t.command('agent-clean')}", f"filter.trap.process={t.command('agent-process')}")
    t.config(f"diff.trap.textconv={t.command('agent-textconv')}", f"diff.trap.command={t.command('agent-driver')}")


def agent_sets_fsmonitor_and_hooks(t: Traps, at: Path) -> None:
    fsmonitor(t)
    hooks(t)


def agent_configures_its_worktree(t: Traps, at: Path) -> None:
    t.config("extensions.worktreeConfig=true")
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        t.repository.git("config", "--worktree", key, t.command("agent-" + key), at=at)
    t.repository.git("config", "--worktree", "core.worktree", str(t.folder), at=at)


def agent_points_to_another_repository(t: Traps, at: Path) -> None:
    evil = type(t.repository)(t.folder / "evil")
    evil.git("config", "core.fsmonitor", t.command("redirect"))
    t.hooks_in(evil.path / ".git" / "hooks")
    (at / ".git").write_text(f"gitdir: {evil.path / '.git'}\n")


def agent_makes_its_git_file_a_repository(t: Traps, at: Path) -> None:
    (at / ".git").unlink()
    t.repository.git("init", "--quiet", at=at)
    t.repository.git("config", "core.fsmonitor", t.command("own"), at=at)
    t.hooks_in(at / ".git" / "hooks")


def agent_redirects_its_common_directory(t: Traps, at: Path) -> None:
    evil = type(t.repository)(t.folder / "evil")
    evil.git("config", "core.fsmonitor", t.command("common"))
    admin = Path(t.repository.git("rev-parse", "--absolute-git-dir", at=at))
    (admin / "commondir").write_text(f"{evil.path / '.git'}\n")


def agent_nests_a_repository(t: Traps, at: Path) -> None:
    t.repository.git("init", "--quiet", "inner", at=at)
    (at / "inner" / "file").write_text("in")
    t.repository.git("add", "--all", at=at / "inner")
    t.repository.git("commit", "--quiet", "-m", "inner", at=at / "inner")
    t.repository.git("config", "core.fsmonitor", t.command("nested"), at=at / "inner")
    t.repository.git("config", "core.worktree", "/", at=at / "inner")
    t.hooks_in(at / "inner" / ".git" / "hooks")
    t.repository.git("-c", "advice.addEmbeddedRepo=false", "add", "inner", at=at, check=False)


def agent_makes_a_bare_repository(t: Traps, at: Path) -> None:
    for name in ("objects", "refs"):
        (at / name).mkdir()
    (at / "HEAD").write_text("ref: refs/heads/main\n")
    (at / "config").write_text(f'[core]\n\tbare = false\n\tworktree = .\n\tfsmonitor = "{t.command("bare")}"\n')


def agent_turns_on_the_daemon(t: Traps, at: Path) -> None:
    t.config("core.fsmonitor=true")
    t.repository.git("update-index", "--split-index", at=at)


def agent_writes_files_named_like_options(t: Traps, at: Path) -> None:
    for name in ("--output=x", "-c", "--ext-diff", "--textconv", ":(attr:filter)", "--upload-pack=touch x"):
        (at / name).write_text(name)


BEFORE = [
    hooks, hooks_path, hooks_path_in_the_tree, fsmonitor, filter_smudge_and_clean, filter_process, filter_required,
    filter_by_info_attributes, filter_by_attributes_file, filter_named_like_lfs, filter_by_a_macro, textconv,
    external_diff, external_diff_of_a_driver, merge_driver, aliases, pager, editors, ssh_command, git_proxy,
    credential_helper, signatures, alternate_refs, pack_objects_hook, interactive_filter, included_config,
    conditionally_included_config, config_of_the_worktree, promised_objects, promised_by_a_local_program,
    promised_by_a_helper, submodule_update, replaced_commit, split_index, maintenance, guessing_worktrees,
    sparse_checkout, user_config, config_in_the_environment, programs_in_the_environment,
    exec_path_in_the_environment, another_repository_in_the_environment, templates_in_the_environment,
]  # fmt: skip
BY_THE_AGENT = [
    agent_adds_a_filter, agent_sets_fsmonitor_and_hooks, agent_configures_its_worktree,
    agent_points_to_another_repository, agent_makes_its_git_file_a_repository, agent_redirects_its_common_directory,
    agent_nests_a_repository, agent_makes_a_bare_repository, agent_turns_on_the_daemon,
    agent_writes_files_named_like_options,
]  # fmt: skip
REFUSED = {promised_objects, promised_by_a_local_program, promised_by_a_helper}  # an object is missing, and stays so


@pytest.fixture
def traps(tmp_path: Path, repository, monkeypatch) -> Traps:
    return Traps(tmp_path, repository, monkeypatch)


async def everything(workspaces: Workspaces, by_the_agent: Callable[[Path], None]) -> None:
    """All that workspaces have git do."""
    async with workspaces.provide("writer", "r1") as workspace:
        (workspace.path / "a.txt").write_text("changed\n")
        (workspace.path / "new.txt").write_text("new\n")
        by_the_agent(workspace.path)
        try:
            patch = await workspace.patch()
        except WorkspaceError:
            assert by_the_agent is not nothing
        else:
            assert "changed" in patch
            assert "new.txt" in patch
        (workspace.path / "a.txt").write_text("changed again, and to be saved\n")
    workspaces.leftovers()
    await workspaces.remove_leftovers()


def nothing(at: Path) -> None:
    pass


def test_there_are_enough_traps() -> None:
    assert len(BEFORE) + len(BY_THE_AGENT) >= 50


@pytest.mark.parametrize("trap", BEFORE, ids=lambda trap: trap.__name__)
async def test_a_trap_in_repository_or_settings_is_not_sprung(repository, base, traps, trap) -> None:
    trap(traps)
    for sprung in traps.sprung.iterdir():
        sprung.unlink()  # by setting it
    workspaces = Workspaces.git_worktree(repository.path, base)
    if trap in REFUSED:
        with pytest.raises(WorkspaceError):
            await everything(workspaces, nothing)
        assert list(base.iterdir()) == []
    else:
        await everything(workspaces, nothing)
        assert [path.name for path in base.iterdir()] == ["writer-r1.patch"]

    assert list(traps.sprung.iterdir()) == []


@pytest.mark.parametrize("trap", BY_THE_AGENT, ids=lambda trap: trap.__name__)
async def test_a_trap_that_an_agent_sets_is_not_sprung(repository, base, traps, trap) -> None:
    def by_the_agent(at: Path) -> None:
        trap(traps, at)
        for sprung in traps.sprung.iterdir():
            sprung.unlink()

    await everything(Workspaces.git_worktree(repository.path, base), by_the_agent)

    assert list(traps.sprung.iterdir()) == []


@pytest.mark.parametrize(
    "trap",
    [
        hooks, hooks_path, fsmonitor, filter_smudge_and_clean, filter_process, filter_by_info_attributes, textconv,
        external_diff, external_diff_of_a_driver, included_config, conditionally_included_config, promised_objects,
        promised_by_a_local_program,
    ],
    ids=lambda trap: trap.__name__,
)  # fmt: skip
def test_the_same_traps_are_sprung_by_git_as_anybody_runs_it(repository, base, traps, trap) -> None:
    trap(traps)
    for sprung in traps.sprung.iterdir():
        sprung.unlink()
    repository.git("worktree", "add", "--detach", str(base), check=False)
    if (base / "a.txt").exists():
        (base / "a.txt").write_text("changed\n")
    for command in (["status"], ["add", "--all"], ["diff", "HEAD"], ["log", "-p"], ["rev-parse", "HEAD:a.txt^{blob}"]):
        repository.git(*command, at=base if base.exists() else None, check=False)

    assert list(traps.sprung.iterdir()) != []
