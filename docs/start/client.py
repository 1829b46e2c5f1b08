"""Another system over gRPC: python docs/start/client.py 127.0.0.1:9090 "$(.venv/bin/hetao token window-clerk-2)" """

import sys

import grpc

from hetao.cases.v1 import case_pb2, cases_pb2, cases_pb2_grpc, intake_pb2, types_pb2

address, token = sys.argv[1:]
call = {"metadata": [("authorization", f"Bearer {token}")], "timeout": 10}
with grpc.insecure_channel(address) as channel:
    cases = cases_pb2_grpc.CaseServiceStub(channel)
    who = case_pb2.NewParty(role="PARTY_ROLE_APPLICANT", type="PARTY_TYPE_NATURAL_PERSON", name="李桂花")
    new = intake_pb2.CreateCaseRequest(kind="KIND_REQUEST", division="150826", title="低保申请", parties=[who])
    new.request_id = "first-hour-1"  # sent again, it is answered again
    answer = cases.CreateCase(new, **call)
    print(answer.case.code, answer.receipts[0].pin)
    case = cases.GetCase(cases_pb2.GetCaseRequest(case_id=answer.case.code), **call).case
    print(types_pb2.CaseState.Name(case.state), case.centre_name)
