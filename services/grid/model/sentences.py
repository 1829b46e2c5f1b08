"""What happened to a report, as sentences in Chinese and English. Made from codes, without names: they also travel with events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    "sanitation": ("环境卫生", "sanitation"),
    "dispute": ("矛盾纠纷", "dispute"),
    "hazard": ("安全隐患", "hazard"),
    "security": ("治安问题", "public security"),
    "facility": ("公用设施", "public facility"),
    "request": ("民生诉求", "request"),
    "other": ("其他", "other"),
}
LEVELS = {
    "critical": ("重大", "critical"),
    "major": ("较大", "major"),
    "ordinary": ("一般", "ordinary"),
    "minor": ("轻微", "minor"),
}
TARGETS = {
    "community": ("嘎查村社区", "the community"),
    "centre": ("综治中心", "the governance centre"),
    "grid": ("其他网格", "another grid"),
    "emergency": ("紧急电话", "the emergency number"),
}
REASONS = {
    "beyond_ability": ("超出网格处置能力", "beyond what the grid can do"),
    "beyond_authority": ("超出网格职责权限", "beyond what the grid may do"),
    "several_departments": ("需多部门协同", "needs several departments"),
    "elsewhere": ("属其他网格或社区", "belongs to another grid or community"),
    "emergency": ("紧急危险", "immediate danger"),
    "party_wishes": ("当事人要求", "the persons concerned wish it"),
}
HOW_CLOSED = {
    "own": ("本人上报本人处置，当即办结", "closed at once: reported and dealt with by one person"),
    "acknowledged": ("上报人已确认，办结", "closed: the reporter has acknowledged it"),
    "automatic": ("上报人逾期未反馈，自动办结", "closed by itself: the reporter did not answer in time"),
    "emergency": ("紧急电话处置后办结", "closed after what the emergency number did"),
    "case": ("案件结案，上报随之办结", "closed together with its case"),
    "merged": ("随合并至的上报一并办结", "closed together with the report that it was merged into"),
}
WAYS_BACK = {
    "refused": ("接收方退回", "sent back by the receiver"),
    "lapsed": ("接收方逾期未答复，退回移交人", "back with the sender: the receiver did not answer in time"),
}
CASE_STATES = {
    "registered": ("已登记", "registered"),
    "not_accepted": ("不予受理", "not accepted"),
    "transferred": ("即时移送", "transferred at once"),
    "accepted": ("已受理", "accepted"),
    "handling": ("办理中", "being handled"),
    "result_submitted": ("已提交结果", "result submitted"),
    "centre_review": ("中心审核", "in review by the centre"),
    "follow_up": ("回访中", "in follow-up"),
    "closed": ("已结案", "closed"),
}


def sentence(action: str, who: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """(Chinese, English). `who`: what the person is called at work, or "" for the platform itself."""
    by_zh, by_en = who or "系统", who or "the platform"
    match action:
        case "submit":
            kind, level = KINDS[facts["kind"]], LEVELS[facts["level"]]
            away = (
                ("，位于本人网格之外，已转所在网格", ", outside the reporter's own grid: routed to where it is")
                if facts["outside"]
                else ("", "")
            )
            return (
                f"{by_zh}上报{kind[0]}（{level[0]}）{away[0]}",
                f"{by_en} reported a problem of {kind[1]} ({level[1]}){away[1]}",
            )
        case "add photos":
            return f"{by_zh}补充照片 {facts['count']} 张", f"{by_en} added {facts['count']} photo(s)"
        case "verify":
            level = LEVELS[facts["level"]]
            return f"{by_zh}核实属实，等级为{level[0]}", f"{by_en} confirmed it, level {level[1]}"
        case "handle":
            return f"{by_zh}开始处置", f"{by_en} began to deal with it"
        case "solve":
            return (
                f"{by_zh}就地解决，附处置前后照片",
                f"{by_en} solved it on the spot, with photos from before and after",
            )
        case "invalidate":
            return f"{by_zh}认定无效", f"{by_en} found it invalid"
        case "merge":
            return f"与 {facts['into']} 为同一问题，合并", f"the same problem as {facts['into']}: merged into it"
        case "follow":
            earlier = facts["earlier"]
            return (
                f"同一地点的上报 {earlier} 已有结果，本件为新上报，与其关联",
                f"a new report: {earlier}, of the same place, had ended before; linked to it",
            )
        case "hand over":
            target, reason = TARGETS[facts["target"]], REASONS[facts["reason"]]
            to = facts.get("to", "")
            return (
                f"{by_zh}移交{target[0]}{to}，原因：{reason[0]}",
                f"{by_en} handed it over to {target[1]} {to}".rstrip() + f", because {reason[1]}",
            )
        case "take over":
            target = TARGETS[facts["target"]]
            code = facts.get("case_code", "")
            if code:
                return f"{target[0]}已受理，案件码 {code}", f"{target[1]} accepted it as case {code}"
            return f"{by_zh}代表{target[0]}接收", f"{by_en} took it over for {target[1]}"
        case "give back":
            back = WAYS_BACK[facts["state"]]
            return back[0], back[1]
        case "overdue":
            return "接收方未在期限内答复，已通知其负责人", "the receiver did not answer in time; its head was told"
        case "case":
            state = CASE_STATES.get(facts["state"], (facts["state"], facts["state"]))
            return f"案件 {facts['case_code']} {state[0]}", f"case {facts['case_code']}: {state[1]}"
        case "close":
            how = HOW_CLOSED[facts["how"]]
            return how[0], how[1]
    raise ValueError(f"no sentence for {action!r}")
