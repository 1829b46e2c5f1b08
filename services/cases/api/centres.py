"""CentreService."""

from __future__ import annotations

from hetao.cases.v1 import centres_pb2, types_pb2
from kit.errors import InvalidArgument
from kit.paging import Page
from kit.proto import number_of
from kit.unit import Unit
from services.cases.model import Centre
from services.cases.service import Cases


class CentreApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def ListCentres(self, request: centres_pb2.ListCentresRequest, unit: Unit) -> centres_pb2.ListCentresResponse:
        page = Page.of(unit, request)
        (after,) = page.after or ("",)
        centres = sorted((await self.chain.centres.all(unit)).values(), key=lambda centre: centre.division)
        wanted = [one for one in centres if one.division > after and one.division.startswith(request.division)]
        rows, token = page.cut(wanted[: page.limit], key=lambda centre: (centre.division,))
        return centres_pb2.ListCentresResponse(centres=[self._centre(unit, row) for row in rows], next_page_token=token)

    async def LocateCentre(
        self, request: centres_pb2.LocateCentreRequest, unit: Unit
    ) -> centres_pb2.LocateCentreResponse:
        centre = await self.chain.centres.responsible(unit, request.division)
        if centre is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="division", division=request.division)
        return centres_pb2.LocateCentreResponse(centre=self._centre(unit, centre))

    def _centre(self, unit: Unit, centre: Centre) -> centres_pb2.Centre:
        desks = [desk for desk in self.chain.words.desks.on(unit.today) if centre.level in desk.levels]
        return centres_pb2.Centre(
            centre=centre.id,
            name=centre.name,
            level=number_of(types_pb2.CentreLevel, centre.level),
            division=centre.division,
            superior=centre.superior,
            desks=[
                centres_pb2.Desk(desk=desk.code, name=desk.zh, mode=number_of(types_pb2.DeskMode, desk.mode))
                for desk in desks
            ],
        )
