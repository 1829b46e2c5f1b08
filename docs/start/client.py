"""Another system talks to Hetao over gRPC: python docs/start/client.py 127.0.0.1:9090 "$(.venv/bin/hetao token window-clerk-2)" """

import sys

import grpc

from hetao.cases.v1 import case_pb2, cases_pb2, cases_pb2_grpc, intake_pb2, types_pb2

address, token = sys.argv[1:]
signed = [("authorization", f"Bearer {token}")]
with grpc.insecure_channel(address) as channel:
    cases = cases_pb2_grpc.CaseServiceStub(channel)
    party = case_pb2.NewParty(
        role=types_pb2.PARTY_ROLE_APPLICANT, type=types_pb2.PARTY_TYPE_NATURAL_PERSON, name="李桂花"
    )
    request = intake_pb2.CreateCaseRequest(
        kind=types_pb2.KIND_REQUEST,
        division="150826",
        title="咨询低保申请材料",
        parties=[party],
        request_id="first-hour-1",
    )
    answer = cases.CreateCase(request, metadata=signed, timeout=10)
    print(answer.case.code, answer.receipts[0].pin)
    case = cases.GetCase(cases_pb2.GetCaseRequest(case_id=answer.case.code), metadata=signed, timeout=10).case
    print(types_pb2.CaseState.Name(case.state), case.centre_name)
