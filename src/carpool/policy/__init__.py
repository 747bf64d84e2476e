"""Rules over actions, tiers of tools, and approvals: who may do what, asked before anything runs."""

from .approvals import ApprovalRequest, Approvals, Approver, digest_of
from .checks import Check, Policy, PolicyViolation, ReadableState, StateView
from .engine import PolicyEngine
from .pending import PendingApprovals
from .rules import (
    allow_tool_param,
    deny_keyword,
    deny_tool,
    deny_tool_param,
    deny_tool_param_matching,
    rate_limit_tool,
    require_state,
)
from .tiers import TIERS, lower_tier, tier_allows

__all__ = [
    "TIERS",
    "ApprovalRequest",
    "Approvals",
    "Approver",
    "Check",
    "PendingApprovals",
    "Policy",
    "PolicyEngine",
    "PolicyViolation",
    "ReadableState",
    "StateView",
    "allow_tool_param",
    "deny_keyword",
    "deny_tool",
    "deny_tool_param",
    "deny_tool_param_matching",
    "digest_of",
    "lower_tier",
    "rate_limit_tool",
    "require_state",
    "tier_allows",
]
