"""Approvals that a run remembers: who approved of a call need not be asked again when the run is resumed."""

from __future__ import annotations

from ..policy import ApprovalRequest, Approvals, digest_of
from ..recall import Recall

__all__ = ["RememberedApprovals"]


class RememberedApprovals(Approvals):
    """Asks ``asked`` and writes down a yes before it counts. The yes is for one call: one agent in its place, one tool,
    exactly these arguments. A no is not kept: whoever resumes may decide anew."""

    def __init__(self, asked: Approvals, recall: Recall) -> None:
        super().__init__()
        self._asked = asked
        self._recall = recall

    async def refusal(self, request: ApprovalRequest) -> str | None:
        by_content = digest_of({"tool": request.tool, "agent": request.path, "arguments": request.arguments_digest})
        if self._recall.was_approved(by_content):
            return None
        refusal = await self._asked.refusal(request)
        if refusal is None:
            await self._recall.approved(by_content)
        return refusal
