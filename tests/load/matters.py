"""What the benchmarks register: a work-injury dispute of two parties, as a clerk would write it down.

The same matter for every benchmark, as JSON and as a message, so that their figures can be compared.
"""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.json_format import ParseDict

from hetao.cases.v1 import intake_pb2

#: A dispatcher of Linhe's centre (临河区综治中心), which does the work itself at its own desks.
ACCOUNT = "dispatcher"
DIVISION = "150802"

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
NAMES = "秀英伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂花"

DESCRIPTION = (
    "申请人于今年三月在被申请人处从事包装工作时右手受伤，住院治疗二十一天，经鉴定为工伤十级。"
    "双方就停工留薪期工资和一次性伤残补助金数额不能达成一致，申请人要求按实际工资标准支付，被申请人只同意按最低工资支付。"
)

#: A centre that does the work itself gives it to its own desks.
DISPATCH: dict[str, Any] = {
    "assignments": [
        {"desk": "mediation", "lead": True, "demand": "约双方到中心调解，查明用工事实和工资标准"},
        {"desk": "labour", "limitDays": 5, "demand": "核对工伤认定和社保缴费记录"},
        {"desk": "court", "limitDays": 5, "demand": "说明诉讼和仲裁的时效与费用"},
    ]
}
CONCLUDE: dict[str, Any] = {
    "outcome": "OUTCOME_WRITTEN_AGREEMENT",
    "agreement": {"terms": "被申请人一次性支付三万二千元，当场付清。", "performed": True},
}


def name(chance: random.Random) -> str:
    return chance.choice(SURNAMES) + chance.choice(NAMES) + chance.choice(NAMES)


def matter(chance: random.Random) -> dict[str, Any]:
    """The body of POST /v1/cases. Its parties are hardly ever the same twice."""
    return {
        "kind": "KIND_DISPUTE",
        "division": DIVISION,
        "title": "工伤待遇纠纷",
        "description": DESCRIPTION,
        "place": "临河区解放街道庆丰东街",
        "parties": [
            {
                "role": "PARTY_ROLE_APPLICANT",
                "type": "PARTY_TYPE_NATURAL_PERSON",
                "name": name(chance),
                "phone": f"139{chance.randrange(10**8):08d}",
            },
            {
                "role": "PARTY_ROLE_RESPONDENT",
                "type": "PARTY_TYPE_LEGAL_PERSON",
                "name": f"巴彦淖尔市{name(chance)}食品有限公司",
                "phone": "0478-8211234",
            },
        ],
        "classification": {"category": "10", "scale": "SCALE_UNSPECIFIED", "complexity": "COMPLEXITY_SIMPLE"},
        "accept": True,
    }


def message(chance: random.Random) -> intake_pb2.CreateCaseRequest:
    """The same as a message."""
    return ParseDict(matter(chance), intake_pb2.CreateCaseRequest())


def other_parties(request: intake_pb2.CreateCaseRequest, chance: random.Random) -> None:
    """Gives the parties of a message, if it has any, other names and telephones."""
    for party in request.parties:
        party.name = name(chance) + name(chance)
        party.phone = f"139{chance.randrange(10**8):08d}"


def question() -> intake_pb2.CreateCaseRequest:
    """The least that can be registered: a question of nobody in particular, with the same texts."""
    body = {"kind": "KIND_CONSULTATION", "division": DIVISION, "title": "工伤待遇咨询", "description": DESCRIPTION}
    return ParseDict(body, intake_pb2.CreateCaseRequest())
