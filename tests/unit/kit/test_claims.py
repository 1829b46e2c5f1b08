"""What issuers' claims mean here."""

import pytest

from kit.claims import ClaimMapping, ClaimWrong
from kit.errors import StartupError
from tests.unit.kit.issuers import ROLES

KEYCLOAK = {
    "sub": "8c1e",
    "preferred_username": "zhang.san",
    "realm_access": {"roles": ["offline_access", "hetao-clerk", "admin"]},
    "resource_access": {"hetao": {"roles": ["hetao-admin"]}},
    "groups": ["/divisions/1508/150802", "/divisions/150826", "/staff", "/departments/linhe-centre"],
    "https://hetao.cn/roles": ["clerk"],
    "scope": "openid clerk email",
}


def mapping(**options):
    return ClaimMapping(ROLES.names, **options)


def test_roles_stand_in_several_places_under_a_prefix_and_groups_name_divisions():
    who = mapping(
        claims={
            "account": "preferred_username",
            "roles": ["realm_access.roles", "resource_access.hetao.roles"],
            "divisions": "groups",
            "department": "groups",
        },
        prefixes={"roles": "hetao-", "divisions": "/divisions/", "department": "/departments/"},
        departments={"linhe-centre": "0b7d"},
    ).read(KEYCLOAK)
    assert who.account == "zhang.san"
    assert who.roles == ("clerk", "admin")
    assert who.divisions == ("150802", "150826")
    assert who.departments == ("0b7d",)


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        ({}, ("offline_access", "hetao-clerk", "admin")),
        ({"prefixes": {"roles": "hetao-"}}, ("clerk",)),
        ({"roles": {"hetao-clerk": "clerk"}}, ("clerk",)),
        ({"roles": {"offline_access": "clerk"}, "prefixes": {"roles": "hetao-"}}, ("clerk",)),
        ({"roles": {"hetao-clerk": "admin"}, "prefixes": {"roles": "hetao-"}}, ("admin",)),
        ({"prefixes": {"roles": "other-"}}, ()),
    ],
)
def test_a_role_of_another_application_is_not_ours_by_accident(options, roles):
    assert mapping(claims={"roles": "realm_access.roles"}, **options).read(KEYCLOAK).roles == roles


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("https://hetao.cn/roles", ("clerk",)),
        ("scope", ("openid", "clerk", "email")),
        ("realm_access.nothing", ()),
        ("realm_access.roles.deeper", ()),
        ("nothing.at.all", ()),
    ],
)
def test_a_path_may_be_a_whole_name_with_dots_and_a_text_may_hold_several(path, roles):
    assert mapping(claims={"roles": path}).read(KEYCLOAK).roles == roles


@pytest.mark.parametrize(("path", "name"), [("realm_access", "roles"), ("groups", "account")])
def test_a_claim_of_another_shape_is_named(path, name):
    with pytest.raises(ClaimWrong, match=name):
        mapping(claims={name: path}).read(KEYCLOAK)


def test_accounts_of_a_further_issuer_are_told_from_those_of_the_first():
    assert mapping(account_prefix="court:").read({"sub": "admin"}).account == "court:admin"
    assert mapping(account_prefix="court:").read({"sub": "system"}).account == "court:system"
    with pytest.raises(ClaimWrong):
        mapping(account_prefix="court:").read({"sub": ""})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"claims": {"role": "x"}}, "HETAO_IDENTITY__CLAIMS"),
        ({"claims": {"roles": ""}}, "HETAO_IDENTITY__CLAIMS"),
        ({"claims": {"roles": []}}, "HETAO_IDENTITY__CLAIMS"),
        ({"claims": {"roles": ["a", " b"]}}, "HETAO_IDENTITY__CLAIMS"),
        ({"prefixes": {"groups": "/x"}}, "HETAO_IDENTITY__PREFIXES"),
        ({"roles": {"hetao-clerk": "clrek"}}, "clrek"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_told_at_start(options, said):
    with pytest.raises(StartupError) as wrong:
        mapping(**options)
    assert said in wrong.value.zh
    assert said in wrong.value.en


def test_what_became_of_each_value_is_told():
    notes = []
    mapping(claims={"roles": ["realm_access.roles", "nothing"]}, prefixes={"roles": "hetao-"}).read(KEYCLOAK, notes)
    english = [en for _, en in notes]
    assert "hetao-clerk in realm_access.roles → role clerk" in english
    assert "admin in realm_access.roles: none of ours" in english
    assert "the token has no nothing" in english
    assert "the token has no divisions" in english
