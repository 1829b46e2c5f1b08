"""Why a token makes somebody who they are here: for people who set up an identity provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kit.claims import ClaimMapping, ClaimWrong, Note
from kit.errors import DomainError
from kit.texts import Texts
from kit.tokens import TokenRefused, read
from kit.verifier import Verifier

#: Claims that say nothing of a person and are shown as they are.
_SHOWN = ("iss", "aud", "azp", "client_id", "typ", "scope")
_TIMES = ("iat", "nbf", "exp")


async def explain(
    verifier: Verifier, mapping: Mapping[str, ClaimMapping], texts: Texts, text: str
) -> tuple[list[Note], bool]:
    """What the token says, what each claim became, and the verdict; in Chinese and English, and whether it is accepted. `mapping`: of each issuer."""
    notes: list[Note] = []
    try:
        token = read(text)
    except TokenRefused as refused:
        return [(f"不是可用的令牌：{refused.why}", f"no usable token: {refused.why}")], False
    header = json.dumps({name: token.header.get(name) for name in ("alg", "typ", "kid")}, ensure_ascii=False)
    notes.append((f"头部 {header}", f"header {header}"))
    for name in _SHOWN:
        if name in token.claims:
            said = json.dumps(token.claims[name], ensure_ascii=False)
            notes.append((f"{name} = {said}", f"{name} = {said}"))
    times = ((name, _time(token.claims[name])) for name in _TIMES if name in token.claims)
    notes += [(f"{name} = {said}", f"{name} = {said}") for name, said in times]
    if known := mapping.get(token.issuer):
        try:
            known.read(token.claims, notes)
        except ClaimWrong as wrong:
            notes.append((f"声明 {wrong} 的形式不对", f"the claim that {wrong} is mapped to has another shape"))
    else:
        notes.append(("签发方不在可信之列", "its issuer is not trusted here"))
    try:
        principal = await verifier.verify(text)
    except DomainError as refused:
        zh, en = texts.of_error(refused)
        why = refused.params.get("why", "")
        notes.append((f"拒绝：{refused.reason}（{why}）{zh}", f"refused: {refused.reason} ({why}) {en}"))
        return notes, False
    roles, divisions = ", ".join(principal.roles) or "-", ", ".join(principal.divisions) or "-"
    department, permissions = principal.department or "-", len(principal.permissions)
    notes.append(
        (
            f"接受：账号 {principal.account}，角色 {roles}，部门 {department}，区划 {divisions}，权限 {permissions} 条",
            f"accepted: account {principal.account}, roles {roles}, department {department}, divisions {divisions}, {permissions} permissions",
        )
    )
    if not principal.permissions:
        notes.append(("没有任何权限：没有一个角色是本平台的", "it permits nothing: none of the roles is one of ours"))
    if not principal.divisions:
        notes.append(("没有任何区划：看不到任何数据", "it has no division, and so sees nothing"))
    return notes, True


def _time(value: Any) -> str:
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return repr(value)[:100]
